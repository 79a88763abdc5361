//! What people and other programs read: tables, JUnit, the story of one scenario.

pub mod costs;
pub mod junit;
pub mod story;
pub mod table;

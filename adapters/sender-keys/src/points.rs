//! Where the group management asks: each point is named after the method of [`GroupDevice`](crate::GroupDevice) that
//! puts the question.

use e2esm_adapter::DecisionPoint;

/// Another member's, or anybody's, word that the roster has changed.
pub(crate) const CHANGE: DecisionPoint = DecisionPoint::group_management("GroupDevice::receive_change");
/// An invitation into a group.
pub(crate) const WELCOME: DecisionPoint = DecisionPoint::group_management("GroupDevice::receive_welcome");
/// The server's word that a user has one more device.
pub(crate) const DEVICE_LIST: DecisionPoint = DecisionPoint::group_management("GroupDevice::receive_device_list");
/// A message, to the group or re-sent.
pub(crate) const MESSAGE: DecisionPoint = DecisionPoint::group_management("GroupDevice::receive_message");
/// A sender key.
pub(crate) const KEY_DISTRIBUTION: DecisionPoint =
    DecisionPoint::group_management("GroupDevice::receive_key_distribution");
/// A request for keys.
pub(crate) const KEY_REQUEST: DecisionPoint = DecisionPoint::group_management("GroupDevice::receive_key_request");
/// Sending under a sender key that somebody outside the roster holds.
pub(crate) const SEND: DecisionPoint = DecisionPoint::group_management("GroupDevice::send");
/// Encrypting an old message once more.
pub(crate) const RESEND: DecisionPoint = DecisionPoint::group_management("GroupDevice::resend");
/// Giving away the keys of old messages.
pub(crate) const SHARE_HISTORY: DecisionPoint = DecisionPoint::group_management("GroupDevice::share_history");

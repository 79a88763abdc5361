/* One device over libolm: what the files of this adapter share.
 *
 * A device is a value: its whole state is a JSON tree in which libolm's objects are pickles. A call works on the tree, and
 * when it is refused the tree of before is put back (`main.c`), so that no refusal costs a key, whatever libolm had
 * changed until then. A function that needs an object of libolm's unpickles it and puts its new pickle back.
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <olm/olm.h>

#include "e2esm.h"

enum { KEY_LENGTH = 32, DEVICE_KEY_LENGTH = 64, SIGNATURE_LENGTH = 64 };

struct device {
    char *id;
    struct notebook *notebook;
    /* What a thief copies and what a restart brings back:
     *   device      the id
     *   account     libolm's account, a pickle
     *   device_key  its public keys: Curve25519 and Ed25519, one after the other
     *   private     the random bytes that the account was made from (keys.c)
     *   trust       the account key's seed, the account key and the voucher (keys.c)
     *   peers       device to {identity, sessions}: pickles, the one that is sent on first (peers.c)
     *   megolm      group to {own, received}: a pickle; session id to {owner, session} (megolm.c)
     *   groups      group to what the group management knows of it (group.c) */
    json_t *state;
    /* What neither does: relabel (a fault), archive (group to own session keys, as they were first given). */
    json_t *rest;
    /* What the latest packet brought to libolm; not put back when it is refused. */
    json_t *transcript;
};

/* pickles.c: libolm's objects in memory of this request. */

/* Pickles are encrypted under this: whoever copies a state has the key too. */
#define PICKLE_KEY "e2esm"
#define PICKLE_KEY_LENGTH (sizeof PICKLE_KEY - 1)

_Noreturn void refuse_as(enum OlmErrorCode code, const char *words);
struct bytes random_bytes(size_t length);
const char *to_base64(struct bytes bytes); /* without padding, as libolm wants it */
struct bytes from_base64(const char *text, size_t length);

OlmAccount *open_account(const char *pickle);
const char *close_account(OlmAccount *account);
OlmAccount *new_account(struct bytes ed25519_seed, struct bytes curve25519_private);
/* Makes a one-time key of this private key, marks it as published and gives its public key and its number. */
struct bytes add_one_time_key(OlmAccount *account, struct bytes private, json_int_t *number);
/* The public keys: Curve25519 and Ed25519. */
struct bytes account_public_keys(OlmAccount *account);

OlmSession *empty_session(void);
OlmSession *open_session(const char *pickle);
const char *close_session(OlmSession *session);
/* Decrypts, or says why not. */
enum OlmErrorCode session_decrypt(OlmSession *session, size_t type, struct bytes message, struct bytes *plaintext);

OlmInboundGroupSession *empty_inbound(void);
OlmInboundGroupSession *open_inbound(const char *pickle);
const char *close_inbound(OlmInboundGroupSession *session);
const char *inbound_id(OlmInboundGroupSession *session);
struct bytes inbound_export(OlmInboundGroupSession *session, uint32_t index);
OlmInboundGroupSession *inbound_from_key(struct bytes session_key);
OlmInboundGroupSession *inbound_from_export(struct bytes exported);
enum OlmErrorCode inbound_decrypt(
    OlmInboundGroupSession *session, struct bytes message, struct bytes *plaintext, uint32_t *index);
/* Of two that are one session at two indexes the earlier; NULL if they are not. */
OlmInboundGroupSession *earlier_inbound(OlmInboundGroupSession *known, OlmInboundGroupSession *other);

enum class class_of(enum OlmErrorCode code);
const char *words_of(enum OlmErrorCode code);

/* The outer part of a prekey message. `bad_request` where a field is missing or has not its length. */
struct prekey_message {
    struct bytes identity_key;
    struct bytes base_key;
    struct bytes one_time_key;
};
struct prekey_message parse_prekey_message(struct bytes message);

/* keys.c: identities, bundles, vouchers. */

json_t *new_keys(const char *id);
json_t *identity_of(const struct device *device);
json_t *publish(struct device *device);
void forget_one_time_key(struct device *device, struct bytes public);
json_t *standard_keys(const struct device *device);
json_t *link_request(const struct device *device);
json_t *authorise(const struct device *device, json_t *request);
void accept_authorisation(struct device *device, json_t *authorisation);
/* An identity before what belongs to it. */
struct bytes beside(const json_t *identity, struct bytes rest);
json_t *split_identity(struct bytes bytes, struct bytes *rest);
struct bundle {
    json_t *identity;
    struct bytes one_time_key;
    struct bytes signature;
};
struct bundle read_bundle(const json_t *bundle);
struct bytes bundle_statement(struct bytes one_time_key);
json_t *break_bundle(const json_t *bundle);
json_t *rewrite_identity(const struct device *device, const json_t *packet);

/* peers.c: Olm. */

json_t *known_identity(const struct device *device, const char *peer);
bool has_session(const struct device *device, const char *peer);
/* Opens a session from a bundle, from now on the one that is sent on. */
void open_from_bundle(struct device *device, const json_t *bundle);
struct bytes encrypt_to(struct device *device, const char *peer, struct bytes plaintext, bool *opens_session);
/* Decrypts what the label says comes from `claimed`, opening a session if it is a prekey message. */
struct bytes decrypt_from(struct device *device, const char *claimed, struct bytes sealed, bool opens_session);
json_t *fingerprint(const struct device *device, const char *peer);
/* What passive devices share with the others. `sessions` is a list of pickles, the one last received on first. */
struct bytes decrypt_with_any(json_t *sessions, struct bytes message);
/* A message of the handshake of a session that is here already. False if there is none. */
bool decrypt_known(json_t *sessions, struct bytes message, struct bytes *plaintext);
/* A message that opens a session, from somebody with the Curve25519 key `expected`. `holder` has the account, which loses the
 * one-time key. */
OlmSession *decrypt_opening(
    json_t *holder, struct bytes expected, struct bytes message, const struct prekey_message *parsed,
    struct bytes *plaintext);

/* megolm.c */

void renew_session(struct device *device, const char *group);
struct bytes session_key(struct device *device, const char *group);
void take_session(struct device *device, const char *group, const char *owner, OlmInboundGroupSession *session);
struct bytes encrypt_in(struct device *device, const char *group, struct bytes plaintext);
struct bytes decrypt_in(struct device *device, const char *group, const char *claimed, struct bytes envelope);
/* Megolm's own part of a message as it travels. */
struct bytes megolm_message_in(struct bytes envelope);
/* [{owner, key}]: what was received in this group, each from the first position that is known. */
json_t *export_sessions(struct device *device, const char *group);
void import_session(
    struct device *device, const char *group, const char *from, const char *owner, struct bytes exported);

/* group.c: the group management, as adapters/sender-keys has it. */

json_t *create_group(struct device *device, const char *group);
json_t *change(struct device *device, const char *group, json_t *change);
json_t *wants(struct device *device, const char *group);
json_t *send_message(struct device *device, const char *group, struct bytes plaintext);
json_t *receive(struct device *device, json_t *packet);
json_t *roster(struct device *device, const char *group);
json_t *introduce(struct device *device, json_t *bundle);
json_t *resend(struct device *device, const char *group, struct bytes plaintext, json_t *bundle, bool acknowledged);
json_t *share_history(struct device *device, const char *group, const char *to);
json_t *request_keys(struct device *device, const char *group, const char *holder);
json_t *transcript(struct device *device);

json_t *packet(
    const struct device *device, const char *kind, const char *group, json_t *to, struct bytes bytes, bool opens_session);
json_t *to_group(const char *group);
json_t *to_device(const char *device);
json_t *to_devices(json_t *devices);
json_t *packets(json_t *list);
/* A packet for `peer` with a pairwise content (wire.c) inside. */
json_t *seal(struct device *device, const char *kind, const char *group, const char *peer, struct bytes content);
/* Introduces from each bundle, and remembers that these sessions are new. */
void introduce_all(struct device *device, json_t *bundles);
json_t *known_group(const struct device *device, const char *group);

/* roster.c: what the group management remembers of one group. */

json_t *new_group(const struct device *device, json_t *members);
bool is_member(const json_t *group, const char *device);
bool has_device_of(const json_t *group, const char *device);
bool join_group(const struct device *device, json_t *group, const char *member);
bool leave_group(json_t *group, const char *member);
void session_replaced(const struct device *device, const char *peer);
bool needs_key(const json_t *group);
void retire_key(json_t *group);
void replace_key(json_t *group);
void key_made(struct device *device, const char *id, json_t *group, struct bytes first);
void key_given(json_t *group, const char *member, const char *account_key);
void message_sent(json_t *group, struct bytes plaintext);
const char *original_key(const json_t *group, const char *member, struct bytes plaintext);
json_t *archive_of(const struct device *device, const char *group);
json_t *everybody_else(const struct device *device, const json_t *group);
/* A set is an object whose names are what is in it. In order: by user and then device. */
json_t *sorted(const json_t *set);
json_t *set_of(const json_t *list);
bool has(const json_t *set, const char *name);
void put(json_t *set, const char *name);

/* wire.c: what is inside a pairwise ciphertext, and the bodies that nothing authenticates. */

enum content { MESSAGE, SENDER_KEY, HANDED_ON };

struct bytes write_content(enum content content, const char *group, struct bytes body);
struct bytes write_handed_on(const char *group, const json_t *keys);
enum content read_content(struct bytes plaintext, const char **group, struct bytes *body);
/* [{owner, key}] */
json_t *read_handed_on(struct bytes body);
struct bytes write_change(json_t *add, json_t *remove);
json_t *read_change(struct bytes bytes);
struct bytes write_invitation(json_t *members);
json_t *read_invitation(struct bytes bytes);

/* forge.c: what an outsider crafts. */

extern const char *const FORGERIES_MADE[];
json_t *forge(void *device, const char *forgery, json_t *fields);

/* passive.c: devices that only receive. */

void *start_passive(json_t *start);
json_t *deliver(void *passive, json_t *delivery);
void drop_passive(void *passive);

#endif

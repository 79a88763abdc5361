/* What a device is known by: its keys, the account key that vouches for them, and what it publishes.
 *
 * The layouts are those of adapters/vodozemac (src/keys.rs) and adapters/account, byte for byte. */
#include <olm/pk.h>
#include <string.h>

#include "device.h"

/* The most one-time keys that libolm keeps; a new one then drops the oldest (include/olm/account.hh:39). */
enum { MOST_ONE_TIME_KEYS = 100 };

/* The account key. Its seed is in the state of its user's first device. */

static OlmPkSigning *signing_key(struct bytes seed, struct bytes *public) {
    OlmPkSigning *key = olm_pk_signing(room(olm_pk_signing_size()));
    size_t length = olm_pk_signing_public_key_length();
    char *text = room(length + 1);
    if (olm_pk_signing_key_from_seed(key, text, length, seed.at, seed.length) == olm_error()) {
        refuse_as(olm_pk_signing_last_error_code(key), olm_pk_signing_last_error(key));
    }
    *public = from_base64(text, length);
    return key;
}

static struct bytes part(struct bytes content) {
    unsigned char *length = room(8);
    for (int i = 0; i < 8; i++) {
        length[i] = (unsigned char)((uint64_t)content.length >> (56 - 8 * i));
    }
    return join((struct bytes[]){{length, 8}, content}, 2);
}

/* The account key's signature over a device's name and key. */
static struct bytes vouch(struct bytes seed, const char *id, struct bytes device_key) {
    static const char CONTEXT[] = "E2ESM device voucher v1"; /* with the 0 at its end */
    const char *slash = strchr(id, '/');
    struct bytes statement = join(
        (struct bytes[]){
            {(const unsigned char *)CONTEXT, sizeof CONTEXT},
            part((struct bytes){(const unsigned char *)id, (size_t)(slash - id)}),
            part(bytes_of(slash + 1)),
            part(device_key),
        },
        4);
    struct bytes public;
    OlmPkSigning *key = signing_key(seed, &public);
    size_t length = olm_pk_signature_length();
    char *text = room(length + 1);
    if (olm_pk_sign(key, statement.at, statement.length, (uint8_t *)text, length) == olm_error()) {
        refuse_as(olm_pk_signing_last_error_code(key), olm_pk_signing_last_error(key));
    }
    return from_base64(text, length);
}

json_t *new_keys(const char *id) {
    struct bytes ed25519 = random_bytes(KEY_LENGTH);
    struct bytes curve25519 = random_bytes(KEY_LENGTH);
    OlmAccount *account = new_account(ed25519, curve25519);
    struct bytes device_key = account_public_keys(account);
    struct bytes seed = random_bytes(olm_pk_signing_seed_length());
    struct bytes account_key;
    signing_key(seed, &account_key);
    return pack(
        "{s:s, s:s, s:s, s:{s:s, s:s, s:[]}, s:{s:s, s:s, s:s}}", "device", id, "account", close_account(account),
        "device_key", hex(device_key), "private", "ed25519", hex(ed25519), "curve25519", hex(curve25519), "one_time_keys",
        "trust", "account_key", hex(account_key), "voucher", hex(vouch(seed, id, device_key)), "seed", hex(seed));
}

json_t *identity_of(const struct device *device) {
    json_t *trust = field(device->state, "trust");
    return pack("{s:s, s:s, s:s}", "account_key", text_in(trust, "account_key"), "device_key",
                text_in(device->state, "device_key"), "voucher", text_in(trust, "voucher"));
}

json_t *link_request(const struct device *device) {
    return pack("{s:s, s:s}", "device", device->id, "device_key", text_in(device->state, "device_key"));
}

json_t *authorise(const struct device *device, json_t *request) {
    json_t *trust = field(device->state, "trust");
    if (field(trust, "seed") == NULL) {
        refuse(BAD_REQUEST, "%s holds no account key: it is a linked device", device->id);
    }
    const char *other = text_in(request, "device");
    struct bytes voucher = vouch(bytes_in(trust, "seed"), other, bytes_in(request, "device_key"));
    json_t *grant =
        pack("{s:s, s:s}", "account_key", text_in(trust, "account_key"), "voucher", hex(voucher));
    return pack("{s:s, s:s}", "device", other, "bytes", hex(write_json(grant)));
}

void accept_authorisation(struct device *device, json_t *authorisation) {
    static const struct shape GRANT[] = {
        {.name = "account_key", .kind = BYTES}, {.name = "voucher", .kind = BYTES}, {0}};
    const char *meant = text_in(authorisation, "device");
    if (strcmp(meant, device->id) != 0) {
        refuse(BAD_REQUEST, "the authorisation is for %s, this device is %s", meant, device->id);
    }
    json_object_set(device->state, "trust", read_json(bytes_in(authorisation, "bytes"), GRANT, "authorisation"));
}

/* Identities and bundles as they travel. */

enum { IDENTITY_LENGTH = KEY_LENGTH + DEVICE_KEY_LENGTH + SIGNATURE_LENGTH };

struct bytes beside(const json_t *identity, struct bytes rest) {
    return join(
        (struct bytes[]){
            bytes_in(identity, "account_key"), bytes_in(identity, "device_key"), bytes_in(identity, "voucher"), rest},
        4);
}

json_t *split_identity(struct bytes bytes, struct bytes *rest) {
    if (bytes.length < IDENTITY_LENGTH) {
        refuse(BAD_REQUEST, "truncated identity");
    }
    const unsigned char *device_key = bytes.at + KEY_LENGTH, *voucher = device_key + DEVICE_KEY_LENGTH;
    *rest = (struct bytes){bytes.at + IDENTITY_LENGTH, bytes.length - IDENTITY_LENGTH};
    return pack("{s:s, s:s, s:s}", "account_key", hex((struct bytes){bytes.at, KEY_LENGTH}), "device_key",
                hex((struct bytes){device_key, DEVICE_KEY_LENGTH}), "voucher",
                hex((struct bytes){voucher, SIGNATURE_LENGTH}));
}

struct bundle read_bundle(const json_t *bundle) {
    struct bytes rest;
    json_t *identity = split_identity(bytes_in(bundle, "bytes"), &rest);
    if (rest.length != KEY_LENGTH + SIGNATURE_LENGTH) {
        refuse(BAD_REQUEST, "a bundle of another length");
    }
    return (struct bundle){identity, {rest.at, KEY_LENGTH}, {rest.at + KEY_LENGTH, SIGNATURE_LENGTH}};
}

static json_t *write_bundle(const char *id, const struct bundle *bundle) {
    struct bytes keys = join((struct bytes[]){bundle->one_time_key, bundle->signature}, 2);
    return pack("{s:s, s:s}", "device", id, "bytes", hex(beside(bundle->identity, keys)));
}

struct bytes bundle_statement(struct bytes one_time_key) {
    return bytes_of(format("{\"key\":\"%s\"}", to_base64(one_time_key)));
}

json_t *publish(struct device *device) {
    OlmAccount *account = open_account(text_in(device->state, "account"));
    struct bundle bundle = {.identity = identity_of(device)};
    struct bytes private = random_bytes(KEY_LENGTH);
    json_int_t number;
    bundle.one_time_key = add_one_time_key(account, private, &number);
    json_t *keys = field(field(device->state, "private"), "one_time_keys");
    json_array_append(keys, pack("{s:I, s:s, s:s}", "id", number, "public", hex(bundle.one_time_key), "priv", hex(private)));
    if (json_array_size(keys) > MOST_ONE_TIME_KEYS) {
        json_array_remove(keys, 0);
    }
    struct bytes statement = bundle_statement(bundle.one_time_key);
    size_t length = olm_account_signature_length(account);
    char *signature = room(length + 1);
    if (olm_account_sign(account, statement.at, statement.length, signature, length) == olm_error()) {
        refuse_as(olm_account_last_error_code(account), olm_account_last_error(account));
    }
    bundle.signature = from_base64(signature, length);
    json_object_set(device->state, "account", own(json_string(close_account(account))));
    return write_bundle(device->id, &bundle);
}

void forget_one_time_key(struct device *device, struct bytes public) {
    json_t *keys = field(field(device->state, "private"), "one_time_keys");
    const char *name = hex(public);
    size_t index;
    json_t *key;
    json_array_foreach(keys, index, key) {
        if (strcmp(text_in(key, "public"), name) == 0) {
            json_array_remove(keys, index);
            return;
        }
    }
}

json_t *standard_keys(const struct device *device) {
    json_t *private = field(device->state, "private");
    json_t *one_time_keys = own(json_array());
    size_t index;
    json_t *key;
    json_array_foreach(field(private, "one_time_keys"), index, key) {
        json_array_append(one_time_keys, pack("{s:O, s:O}", "id", field(key, "id"), "priv", field(key, "priv")));
    }
    return pack("{s:{s:O, s:O, s:O}}", "olm", "ed25519_priv", field(private, "ed25519"), "curve25519_priv",
                field(private, "curve25519"), "one_time_keys", one_time_keys);
}

json_t *break_bundle(const json_t *bundle) {
    struct bundle broken = read_bundle(bundle);
    unsigned char *signature = room(SIGNATURE_LENGTH);
    memcpy(signature, broken.signature.at, SIGNATURE_LENGTH);
    signature[0] ^= 1;
    broken.signature.at = signature;
    return pack("{s:O}", "bundle", write_bundle(text_in(bundle, "device"), &broken));
}

json_t *rewrite_identity(const struct device *device, const json_t *packet) {
    if (!json_is_true(field(packet, "opens_session"))) {
        refuse(BAD_REQUEST, "this packet opens no session");
    }
    struct bytes message;
    split_identity(bytes_in(packet, "bytes"), &message);
    struct bytes honest = parse_prekey_message(message).identity_key;
    struct bytes mine = bytes_in(device->state, "device_key"); /* begins with the Curve25519 key */
    size_t at = (size_t)(honest.at - message.at);
    struct bytes rewritten = join(
        (struct bytes[]){
            {message.at, at},
            {mine.at, KEY_LENGTH},
            {honest.at + KEY_LENGTH, message.length - at - KEY_LENGTH}},
        3);
    json_t *forged = own(json_copy((json_t *)(uintptr_t)packet));
    json_object_set(forged, "bytes", own(json_string(hex(beside(identity_of(device), rewritten)))));
    return pack("{s:[O]}", "packets", forged);
}

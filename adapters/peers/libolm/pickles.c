/* libolm's objects in memory of the request, made of pickles and turned into pickles again. */
#define _DEFAULT_SOURCE
#include <string.h>
#include <unistd.h>

#include "device.h"

enum class class_of(enum OlmErrorCode code) {
    switch (code) {
    /* Also what libolm says of a repeated message of Olm's, and of one that is too far ahead (src/ratchet.cpp:590-593). */
    case OLM_BAD_MESSAGE_MAC:
    case OLM_BAD_SIGNATURE:
        return AUTH_FAILED;
    /* No such one-time key. That it is another identity key than expected has the same code; see peers.c. */
    case OLM_BAD_MESSAGE_KEY_ID:
    case OLM_UNKNOWN_MESSAGE_INDEX:
        return NO_KEY;
    case OLM_BAD_MESSAGE_VERSION:
    case OLM_BAD_MESSAGE_FORMAT:
    case OLM_INVALID_BASE64:
    case OLM_BAD_SESSION_KEY:
    case OLM_BAD_ACCOUNT_KEY:
    case OLM_UNKNOWN_PICKLE_VERSION:
    case OLM_CORRUPTED_PICKLE:
    case OLM_BAD_LEGACY_ACCOUNT_PICKLE:
    case OLM_PICKLE_EXTRA_DATA:
        return BAD_REQUEST;
    default:
        return INTERNAL;
    }
}

const char *words_of(enum OlmErrorCode code) {
    return _olm_error_to_string(code);
}

_Noreturn void refuse_as(enum OlmErrorCode code, const char *words) {
    refuse(class_of(code), "%s", words);
}

struct bytes random_bytes(size_t length) {
    unsigned char *bytes = room(length);
    for (size_t at = 0; at < length; at += 256) {
        if (getentropy(bytes + at, length - at < 256 ? length - at : 256) != 0) {
            refuse(INTERNAL, "the system has no randomness to give");
        }
    }
    return (struct bytes){bytes, length};
}

static const char DIGITS[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const char *to_base64(struct bytes bytes) {
    char *text = room((bytes.length * 4 + 2) / 3 + 1);
    char *out = text;
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < bytes.length; i++) {
        bits = bits << 8 | bytes.at[i];
        for (count += 8; count >= 6; count -= 6) {
            *out++ = DIGITS[bits >> (count - 6) & 63];
        }
    }
    if (count > 0) {
        *out++ = DIGITS[bits << (6 - count) & 63];
    }
    return text;
}

struct bytes from_base64(const char *text, size_t length) {
    unsigned char *bytes = room(length * 3 / 4 + 1);
    unsigned char *out = bytes;
    uint32_t bits = 0;
    int count = 0;
    for (size_t i = 0; i < length; i++) {
        const char *digit = memchr(DIGITS, text[i], sizeof DIGITS - 1);
        if (digit == NULL) {
            refuse(INTERNAL, "libolm gave something else than base64");
        }
        bits = bits << 6 | (uint32_t)(digit - DIGITS);
        count += 6;
        if (count >= 8) {
            count -= 8;
            *out++ = (unsigned char)(bits >> count);
        }
    }
    return (struct bytes){bytes, (size_t)(out - bytes)};
}

/* A copy of text for libolm, which decodes in place. */
static char *copy_of(const char *text) {
    return format("%s", text);
}

/* What a call that gives a length or olm_error() gave, for each kind of object. */
#define CHECKED(kind) \
    static size_t checked_##kind(size_t result, kind##_object *object) { \
        if (result == olm_error()) { \
            refuse_as(kind##_last_error_code(object), kind##_last_error(object)); \
        } \
        return result; \
    }
typedef OlmAccount olm_account_object;
typedef OlmSession olm_session_object;
typedef OlmInboundGroupSession olm_inbound_group_session_object;
CHECKED(olm_account)
CHECKED(olm_session)
CHECKED(olm_inbound_group_session)

static OlmAccount *empty_account(void) {
    return olm_account(room(olm_account_size()));
}

OlmAccount *open_account(const char *pickle) {
    OlmAccount *account = empty_account();
    size_t length = strlen(pickle);
    checked_olm_account(olm_unpickle_account(account, PICKLE_KEY, PICKLE_KEY_LENGTH, copy_of(pickle), length), account);
    return account;
}

const char *close_account(OlmAccount *account) {
    size_t length = olm_pickle_account_length(account);
    char *pickle = room(length + 1);
    checked_olm_account(olm_pickle_account(account, PICKLE_KEY, PICKLE_KEY_LENGTH, pickle, length), account);
    return pickle;
}

/* libolm takes its randomness from its caller, and makes the keys of it as it is: the first 32 bytes are the Ed25519 seed,
 * the next are the Curve25519 private key (src/account.cpp:87-101). That is how private keys get in. */
OlmAccount *new_account(struct bytes ed25519_seed, struct bytes curve25519_private) {
    OlmAccount *account = empty_account();
    struct bytes both = join((struct bytes[]){ed25519_seed, curve25519_private}, 2);
    checked_olm_account(olm_create_account(account, (void *)(uintptr_t)both.at, both.length), account);
    return account;
}

static struct bytes key_in(const json_t *object, const char *name) {
    const char *text = text_in(object, name);
    struct bytes key = from_base64(text, strlen(text));
    if (key.length != KEY_LENGTH) {
        refuse(INTERNAL, "libolm gave a key of %zu bytes", key.length);
    }
    return key;
}

struct bytes account_public_keys(OlmAccount *account) {
    size_t length = olm_account_identity_keys_length(account);
    char *text = room(length + 1);
    checked_olm_account(olm_account_identity_keys(account, text, length), account);
    json_t *keys = own(json_loads(text, 0, NULL));
    return join((struct bytes[]){key_in(keys, "curve25519"), key_in(keys, "ed25519")}, 2);
}

/* As above: a one-time key's private part is the randomness that it is made of (src/account.cpp:277-295). */
struct bytes add_one_time_key(OlmAccount *account, struct bytes private, json_int_t *number) {
    struct bytes copy = join(&private, 1);
    checked_olm_account(
        olm_account_generate_one_time_keys(account, 1, (void *)(uintptr_t)copy.at, copy.length), account);
    size_t length = olm_account_one_time_keys_length(account);
    char *text = room(length + 1);
    checked_olm_account(olm_account_one_time_keys(account, text, length), account);
    json_t *made = field(own(json_loads(text, 0, NULL)), "curve25519");
    void *first = json_object_iter(made);
    if (first == NULL) {
        refuse(INTERNAL, "libolm made no one-time key");
    }
    const char *name = json_object_iter_key(first);
    struct bytes digits = from_base64(name, strlen(name));
    *number = 0;
    for (size_t i = 0; i < digits.length; i++) {
        *number = *number << 8 | digits.at[i];
    }
    olm_account_mark_keys_as_published(account);
    return key_in(made, name);
}

OlmSession *empty_session(void) {
    return olm_session(room(olm_session_size()));
}

OlmSession *open_session(const char *pickle) {
    OlmSession *session = empty_session();
    size_t length = strlen(pickle);
    checked_olm_session(olm_unpickle_session(session, PICKLE_KEY, PICKLE_KEY_LENGTH, copy_of(pickle), length), session);
    return session;
}

const char *close_session(OlmSession *session) {
    size_t length = olm_pickle_session_length(session);
    char *pickle = room(length + 1);
    checked_olm_session(olm_pickle_session(session, PICKLE_KEY, PICKLE_KEY_LENGTH, pickle, length), session);
    return pickle;
}

enum OlmErrorCode session_decrypt(OlmSession *session, size_t type, struct bytes message, struct bytes *plaintext) {
    const char *text = to_base64(message);
    size_t length = strlen(text);
    size_t most = olm_decrypt_max_plaintext_length(session, type, copy_of(text), length);
    if (most == olm_error()) {
        return olm_session_last_error_code(session);
    }
    unsigned char *buffer = room(most);
    size_t got = olm_decrypt(session, type, copy_of(text), length, buffer, most);
    if (got == olm_error()) {
        return olm_session_last_error_code(session);
    }
    *plaintext = (struct bytes){buffer, got};
    return OLM_SUCCESS;
}

OlmInboundGroupSession *empty_inbound(void) {
    return olm_inbound_group_session(room(olm_inbound_group_session_size()));
}

OlmInboundGroupSession *open_inbound(const char *pickle) {
    OlmInboundGroupSession *session = empty_inbound();
    checked_olm_inbound_group_session(
        olm_unpickle_inbound_group_session(session, PICKLE_KEY, PICKLE_KEY_LENGTH, copy_of(pickle), strlen(pickle)),
        session);
    return session;
}

const char *close_inbound(OlmInboundGroupSession *session) {
    size_t length = olm_pickle_inbound_group_session_length(session);
    char *pickle = room(length + 1);
    checked_olm_inbound_group_session(
        olm_pickle_inbound_group_session(session, PICKLE_KEY, PICKLE_KEY_LENGTH, pickle, length), session);
    return pickle;
}

const char *inbound_id(OlmInboundGroupSession *session) {
    size_t length = olm_inbound_group_session_id_length(session);
    char *id = room(length + 1);
    checked_olm_inbound_group_session(olm_inbound_group_session_id(session, (uint8_t *)id, length), session);
    return id;
}

struct bytes inbound_export(OlmInboundGroupSession *session, uint32_t index) {
    size_t length = olm_export_inbound_group_session_length(session);
    char *text = room(length + 1);
    checked_olm_inbound_group_session(
        olm_export_inbound_group_session(session, (uint8_t *)text, length, index), session);
    return from_base64(text, length);
}

OlmInboundGroupSession *inbound_from_key(struct bytes session_key) {
    OlmInboundGroupSession *session = empty_inbound();
    const char *text = to_base64(session_key);
    checked_olm_inbound_group_session(
        olm_init_inbound_group_session(session, (const uint8_t *)text, strlen(text)), session);
    return session;
}

OlmInboundGroupSession *inbound_from_export(struct bytes exported) {
    OlmInboundGroupSession *session = empty_inbound();
    const char *text = to_base64(exported);
    checked_olm_inbound_group_session(
        olm_import_inbound_group_session(session, (const uint8_t *)text, strlen(text)), session);
    return session;
}

enum OlmErrorCode inbound_decrypt(
    OlmInboundGroupSession *session, struct bytes message, struct bytes *plaintext, uint32_t *index) {
    const char *text = to_base64(message);
    size_t length = strlen(text);
    size_t most = olm_group_decrypt_max_plaintext_length(session, (uint8_t *)copy_of(text), length);
    if (most == olm_error()) {
        return olm_inbound_group_session_last_error_code(session);
    }
    unsigned char *buffer = room(most);
    size_t got = olm_group_decrypt(session, (uint8_t *)copy_of(text), length, buffer, most, index);
    if (got == olm_error()) {
        return olm_inbound_group_session_last_error_code(session);
    }
    *plaintext = (struct bytes){buffer, got};
    return OLM_SUCCESS;
}

OlmInboundGroupSession *earlier_inbound(OlmInboundGroupSession *known, OlmInboundGroupSession *other) {
    uint32_t one = olm_inbound_group_session_first_known_index(known);
    uint32_t two = olm_inbound_group_session_first_known_index(other);
    uint32_t later = one > two ? one : two;
    if (!same_bytes(inbound_export(known, later), inbound_export(other, later))) {
        return NULL;
    }
    return one <= two ? known : other;
}

/* Protocol buffers, read as libolm reads them (src/message.cpp): what is looked at here is what it will see. */

static const unsigned char *skip_varint(const unsigned char *at, const unsigned char *end) {
    while (at != end && (*at++ & 0x80) != 0) {
    }
    return at;
}

static size_t varint(const unsigned char *start, const unsigned char *end) {
    size_t value = 0;
    while (end != start) {
        value = value << 7 | (*--end & 0x7f);
    }
    return value;
}

/* A field of bytes; true if it is there, and then `at` is behind it. */
static bool read_field(const unsigned char **at, const unsigned char *end, unsigned char tag, struct bytes *found) {
    if (*at == end || **at != tag) {
        return false;
    }
    const unsigned char *start = *at + 1;
    const unsigned char *content = skip_varint(start, end);
    size_t length = varint(start, content);
    if (length > (size_t)(end - content)) {
        *at = end;
        return true;
    }
    *found = (struct bytes){content, length};
    *at = content + length;
    return true;
}

static void skip_field(const unsigned char **at, const unsigned char *end) {
    struct bytes ignored;
    switch (**at & 7) {
    case 0:
        *at = skip_varint(skip_varint(*at, end), end);
        return;
    case 2: {
        /* The tag may be a varint of several bytes. */
        const unsigned char *start = skip_varint(*at, end);
        const unsigned char *content = skip_varint(start, end);
        ignored.length = varint(start, content);
        *at = ignored.length > (size_t)(end - content) ? end : content + ignored.length;
        return;
    }
    default:
        *at = end;
    }
}

struct prekey_message parse_prekey_message(struct bytes message) {
    struct prekey_message found = {0};
    struct bytes inner = {0};
    const unsigned char *at = message.at, *end = message.at + message.length;
    if (at != end) {
        at++; /* the version */
    }
    while (at != end) {
        bool one_time_key = read_field(&at, end, 012, &found.one_time_key);
        bool base_key = read_field(&at, end, 022, &found.base_key);
        bool identity_key = read_field(&at, end, 032, &found.identity_key);
        bool text = read_field(&at, end, 042, &inner);
        if (!one_time_key && !base_key && !identity_key && !text) {
            skip_field(&at, end);
        }
    }
    if (found.one_time_key.length != KEY_LENGTH || found.base_key.length != KEY_LENGTH
        || found.identity_key.length != KEY_LENGTH || inner.at == NULL) {
        refuse(BAD_REQUEST, "malformed prekey message: a field is missing or has not its length");
    }
    return found;
}

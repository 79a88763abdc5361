/* Olm: the sessions with other devices, and where libolm hands a decision to its caller. */
#include <string.h>

#include "device.h"

/* Whose Curve25519 key a session is opened with. */
static const char OUTBOUND_IDENTITY[] = "olm_create_outbound_session(their_identity_key)";
/* Whether a one-time key is the one its owner published. */
static const char ONE_TIME_KEY[] = "olm_create_outbound_session(their_one_time_key)";
/* Whose Curve25519 key an incoming session is expected to bear. */
static const char INBOUND_IDENTITY[] = "olm_create_inbound_session_from(their_identity_key)";

static json_t *find_peer(const struct device *device, const char *peer) {
    return field(field(device->state, "peers"), peer);
}

json_t *known_identity(const struct device *device, const char *peer) {
    return field(find_peer(device, peer), "identity");
}

bool has_session(const struct device *device, const char *peer) {
    return find_peer(device, peer) != NULL;
}

/* Several sessions may be open with one device, when both sides began; as in Matrix, the one that was last received on is
 * sent on, and it comes first. Sessions with other device keys are dropped; a device that was vouched for by another
 * account key keeps its sessions. */
static void opened(struct device *device, const char *peer, json_t *identity, OlmSession *session) {
    note(device->notebook, pack("{s:s, s:s}", "event", "session_opened", "peer", peer));
    json_t *known = find_peer(device, peer);
    json_t *sessions = own(json_array());
    if (known != NULL) {
        json_t *before = field(known, "identity");
        if (strcmp(text_in(before, "account_key"), text_in(identity, "account_key")) != 0) {
            note(device->notebook, pack("{s:s, s:s}", "event", "key_changed", "device", peer));
        }
        if (strcmp(text_in(before, "device_key"), text_in(identity, "device_key")) == 0) {
            sessions = field(known, "sessions");
        }
    }
    json_array_insert(sessions, 0, own(json_string(close_session(session))));
    json_object_set(
        field(device->state, "peers"), peer, pack("{s:O, s:O}", "identity", identity, "sessions", sessions));
}

/* The question whose keys these are. */
static void ask_identity(struct device *device, const char *point, const char *peer, json_t *identity) {
    json_t *fact = pack("{s:s, s:s, s:O}", "fact", "identity", "device", peer, "identity", identity);
    json_t *known = known_identity(device, peer);
    if (known != NULL && strcmp(text_in(known, "account_key"), text_in(identity, "account_key")) != 0) {
        json_object_set(fact, "previous", field(known, "account_key"));
    }
    require(device->notebook, point, LIBRARY, fact);
}

static struct bytes curve25519_of(const json_t *identity) {
    return (struct bytes){bytes_in(identity, "device_key").at, KEY_LENGTH};
}

static bool signature_holds(const json_t *identity, const struct bundle *bundle) {
    OlmUtility *utility = olm_utility(room(olm_utility_size()));
    const char *key = to_base64((struct bytes){bytes_in(identity, "device_key").at + KEY_LENGTH, KEY_LENGTH});
    struct bytes statement = bundle_statement(bundle->one_time_key);
    char *signature = format("%s", to_base64(bundle->signature));
    return olm_ed25519_verify(
               utility, key, strlen(key), statement.at, statement.length, signature, strlen(signature)) != olm_error();
}

void open_from_bundle(struct device *device, const json_t *given) {
    const char *peer = text_in(given, "device");
    struct bundle bundle = read_bundle(given);
    ask_identity(device, OUTBOUND_IDENTITY, peer, bundle.identity);
    if (!signature_holds(bundle.identity, &bundle)) {
        require(device->notebook, ONE_TIME_KEY, LIBRARY,
                pack("{s:s, s:s}", "fact", "unsigned_prekey", "device", peer));
    }
    OlmAccount *account = open_account(text_in(device->state, "account"));
    OlmSession *session = empty_session();
    struct bytes random = random_bytes(olm_create_outbound_session_random_length(session));
    const char *identity_key = to_base64(curve25519_of(bundle.identity));
    const char *one_time_key = to_base64(bundle.one_time_key);
    if (olm_create_outbound_session(session, account, identity_key, strlen(identity_key), one_time_key,
                                    strlen(one_time_key), (void *)(uintptr_t)random.at, random.length) == olm_error()) {
        refuse_as(olm_session_last_error_code(session), olm_session_last_error(session));
    }
    opened(device, peer, bundle.identity, session);
}

struct bytes encrypt_to(struct device *device, const char *peer, struct bytes plaintext, bool *opens_session) {
    json_t *sessions = field(find_peer(device, peer), "sessions");
    if (json_array_size(sessions) == 0) {
        refuse(NO_KEY, "there is no Olm session with this device");
    }
    OlmSession *session = open_session(json_string_value(json_array_get(sessions, 0)));
    *opens_session = olm_encrypt_message_type(session) == OLM_MESSAGE_TYPE_PRE_KEY;
    struct bytes random = random_bytes(olm_encrypt_random_length(session));
    size_t length = olm_encrypt_message_length(session, plaintext.length);
    char *text = room(length + 1);
    size_t written = olm_encrypt(
        session, plaintext.at, plaintext.length, (void *)(uintptr_t)random.at, random.length, text, length);
    if (written == olm_error()) {
        refuse_as(olm_session_last_error_code(session), olm_session_last_error(session));
    }
    json_array_set(sessions, 0, own(json_string(close_session(session))));
    struct bytes message = from_base64(text, written);
    return *opens_session ? beside(identity_of(device), message) : message;
}

/* The session with this index was received on: it is sent on from now on. */
static void use(json_t *sessions, size_t index, OlmSession *session) {
    json_array_remove(sessions, index);
    json_array_insert(sessions, 0, own(json_string(close_session(session))));
}

struct bytes decrypt_with_any(json_t *sessions, struct bytes message) {
    enum OlmErrorCode refusal = OLM_SUCCESS;
    size_t index;
    json_t *pickle;
    json_array_foreach(sessions, index, pickle) {
        OlmSession *session = open_session(json_string_value(pickle));
        struct bytes plaintext;
        enum OlmErrorCode code = session_decrypt(session, OLM_MESSAGE_TYPE_MESSAGE, message, &plaintext);
        if (code == OLM_SUCCESS) {
            use(sessions, index, session);
            return plaintext;
        }
        /* A wrong tag is what any other session says; the session that it was sent on may have better reasons. */
        if (index == 0 || refusal == OLM_BAD_MESSAGE_MAC) {
            refusal = code;
        }
    }
    if (refusal == OLM_SUCCESS) {
        refuse(NO_KEY, "there is no Olm session with this device");
    }
    refuse_as(refusal, words_of(refusal));
}

bool decrypt_known(json_t *sessions, struct bytes message, struct bytes *plaintext) {
    const char *text = to_base64(message);
    size_t index;
    json_t *pickle;
    json_array_foreach(sessions, index, pickle) {
        OlmSession *session = open_session(json_string_value(pickle));
        if (olm_matches_inbound_session(session, format("%s", text), strlen(text)) != 1) {
            continue;
        }
        enum OlmErrorCode code = session_decrypt(session, OLM_MESSAGE_TYPE_PRE_KEY, message, plaintext);
        if (code != OLM_SUCCESS) {
            refuse_as(code, words_of(code));
        }
        use(sessions, index, session);
        return true;
    }
    return false;
}

OlmSession *decrypt_opening(
    json_t *holder, struct bytes expected, struct bytes message, const struct prekey_message *parsed,
    struct bytes *plaintext) {
    const char *key = to_base64(expected), *text = to_base64(message);
    OlmAccount *account = open_account(text_in(holder, "account"));
    OlmSession *session = empty_session();
    if (olm_create_inbound_session_from(session, account, key, strlen(key), format("%s", text), strlen(text))
        == olm_error()) {
        enum OlmErrorCode code = olm_session_last_error_code(session);
        /* One code for two reasons (src/session.cpp:141, 170): another identity key than expected, and no such one-time key. */
        if (code == OLM_BAD_MESSAGE_KEY_ID && !same_bytes(parsed->identity_key, expected)) {
            refuse(UNTRUSTED_IDENTITY, "%s: the message bears another identity key", words_of(code));
        }
        refuse_as(code, words_of(code));
    }
    enum OlmErrorCode code = session_decrypt(session, OLM_MESSAGE_TYPE_PRE_KEY, message, plaintext);
    if (code != OLM_SUCCESS) {
        refuse_as(code, words_of(code));
    }
    /* Only now is it certain that the message was meant. */
    if (olm_remove_one_time_keys(account, session) == olm_error()) {
        refuse_as(olm_account_last_error_code(account), olm_account_last_error(account));
    }
    json_object_set(holder, "account", own(json_string(close_account(account))));
    return session;
}

/* libolm compares the Curve25519 key inside with the one it is given: that is the key this device is known by. Only where it
 * is not known yet are the keys beside the message taken for it. */
static struct bytes decrypt_first(
    struct device *device, const char *claimed, json_t *carried, struct bytes message,
    const struct prekey_message *parsed) {
    json_t *identity = known_identity(device, claimed);
    if (identity == NULL || strcmp(text_in(identity, "device_key"), text_in(carried, "device_key")) == 0) {
        identity = carried;
    }
    ask_identity(device, INBOUND_IDENTITY, claimed, identity);
    struct bytes plaintext;
    OlmSession *session = decrypt_opening(device->state, curve25519_of(identity), message, parsed, &plaintext);
    forget_one_time_key(device, parsed->one_time_key);
    opened(device, claimed, identity, session);
    return plaintext;
}

struct bytes decrypt_from(struct device *device, const char *claimed, struct bytes sealed, bool opens_session) {
    if (!opens_session) {
        return decrypt_with_any(field(find_peer(device, claimed), "sessions"), sealed);
    }
    struct bytes message, plaintext;
    json_t *carried = split_identity(sealed, &message);
    struct prekey_message parsed = parse_prekey_message(message);
    if (decrypt_known(field(find_peer(device, claimed), "sessions"), message, &plaintext)) {
        return plaintext;
    }
    return decrypt_first(device, claimed, carried, message, &parsed);
}

json_t *fingerprint(const struct device *device, const char *peer) {
    json_t *known = known_identity(device, peer);
    if (known == NULL) {
        refuse(BAD_REQUEST, "the keys of %s are not known", peer);
    }
    const char *mine = text_in(device->state, "device_key"), *theirs = text_in(known, "device_key");
    bool first = strcmp(mine, theirs) <= 0;
    return pack("{s:s, s:s}", "kind", "device_keys", "value",
                format("%s %s", first ? mine : theirs, first ? theirs : mine));
}

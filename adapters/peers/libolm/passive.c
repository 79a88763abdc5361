/* Devices that only receive, for recorded vectors: an Olm account and its sessions, and a receiver of Megolm's sessions.
 * Nothing of the group management takes part, and nothing is asked: an Olm device is known by the Curve25519 key that the
 * label names, a Megolm session by the Ed25519 key in it.
 *
 *   Olm     account    a pickle
 *           sessions   the sender's key in hex to pickles, the one last received on first
 *   Megolm  received   session id to a pickle, in the order in which they came */
#include <stdlib.h>
#include <string.h>

#include "device.h"

struct passive {
    json_t *state;
};

static const struct shape ONE_TIME_KEY[] = {{.name = "id", .kind = INTEGER}, {.name = "priv", .kind = BYTES}, {0}};
static const struct shape OLM_START[] = {
    {.name = "ed25519_priv", .kind = BYTES},
    {.name = "curve25519_priv", .kind = BYTES},
    {.name = "one_time_keys", .kind = OBJECT, .list = true, .inner = ONE_TIME_KEY},
    {0}};
static const struct shape NOTHING[] = {{0}};

static struct bytes private_key(const json_t *object, const char *name) {
    struct bytes key = bytes_in(object, name);
    if (key.length != KEY_LENGTH) {
        refuse(BAD_REQUEST, "a private key of %zu bytes", key.length);
    }
    return key;
}

static json_t *start_olm(json_t *start) {
    check(start, OLM_START, "olm");
    struct bytes ed25519 = bytes_in(start, "ed25519_priv");
    if (ed25519.length == 2 * KEY_LENGTH) {
        /* An expanded key has no way in. It signs what is published, and a device that only receives publishes nothing. */
        ed25519 = random_bytes(KEY_LENGTH);
    } else {
        ed25519 = private_key(start, "ed25519_priv");
    }
    OlmAccount *account = new_account(ed25519, private_key(start, "curve25519_priv"));
    json_t *one_time_keys = field(start, "one_time_keys");
    if (json_array_size(one_time_keys) > olm_account_max_number_of_one_time_keys(account)) {
        refuse(BAD_REQUEST, "more one-time keys than libolm keeps");
    }
    json_t *numbers = own(json_object()), *privates = own(json_object());
    size_t index;
    json_t *key;
    json_array_foreach(one_time_keys, index, key) {
        const char *number = format("%" JSON_INTEGER_FORMAT, json_integer_value(field(key, "id")));
        if (has(numbers, number) || has(privates, text_in(key, "priv"))) {
            refuse(BAD_REQUEST, "two one-time keys that are one");
        }
        put(numbers, number);
        put(privates, text_in(key, "priv"));
        /* libolm counts its keys itself; messages name them by their public keys. */
        json_int_t own_number;
        add_one_time_key(account, private_key(key, "priv"), &own_number);
    }
    return pack("{s:s, s:{}}", "account", close_account(account), "sessions");
}

void *start_passive(json_t *start) {
    json_t *state;
    if (!json_is_object(start) || json_object_size(start) != 1) {
        refuse(BAD_REQUEST, "expected one protocol");
    }
    if (json_object_get(start, "olm") != NULL) {
        state = start_olm(json_object_get(start, "olm"));
    } else if (json_object_get(start, "megolm") != NULL) {
        check(json_object_get(start, "megolm"), NOTHING, "megolm");
        state = pack("{s:{}}", "received");
    } else {
        refuse(UNSUPPORTED, "recorded vectors of another protocol: libolm speaks olm and megolm");
    }
    struct passive *passive = malloc(sizeof *passive);
    if (passive == NULL) {
        refuse(INTERNAL, "out of memory");
    }
    passive->state = json_incref(state);
    return passive;
}

void drop_passive(void *argument) {
    struct passive *passive = argument;
    json_decref(passive->state);
    free(passive);
}

/* Olm. */

/* A message with a handshake. A session that was opened by this very handshake decrypts it; if there is none, one is
 * opened, which costs a one-time key. */
static struct bytes deliver_prekey_message(json_t *state, json_t *sessions, struct bytes sender, struct bytes message) {
    struct prekey_message parsed = parse_prekey_message(message);
    struct bytes plaintext;
    if (!decrypt_known(sessions, message, &plaintext)) {
        OlmSession *session = decrypt_opening(state, sender, message, &parsed, &plaintext);
        json_array_insert(sessions, 0, own(json_string(close_session(session))));
    }
    return plaintext;
}

static json_t *deliver_olm(json_t *state, const char *kind, json_t *delivery) {
    const char *from = json_string_value(field(delivery, "from"));
    if (from == NULL) {
        refuse(BAD_REQUEST, "a delivery of Olm's from nobody");
    }
    struct bytes sender = unhex(from);
    if (sender.length != KEY_LENGTH) {
        refuse(BAD_REQUEST, "`%s` is not a Curve25519 key in hex", from);
    }
    bool prekey_message = strcmp(kind, "prekey_message") == 0;
    if (!prekey_message && strcmp(kind, "message") != 0) {
        refuse(BAD_REQUEST, "an Olm device takes no %s", kind);
    }
    json_t *all = field(state, "sessions");
    json_t *sessions = field(all, from);
    if (sessions == NULL) {
        sessions = own(json_array());
        json_object_set(all, from, sessions);
    }
    struct bytes message = bytes_in(delivery, "bytes");
    struct bytes plaintext = prekey_message ? deliver_prekey_message(state, sessions, sender, message)
                                            : decrypt_with_any(sessions, message);
    return pack("{s:s, s:s}", "plaintext", hex(plaintext), "sender", from);
}

/* Megolm. */

/* With a session that is here already the earlier position of the two holds, and nothing that could be read becomes
 * unreadable. Two that do not connect cannot both be the sender's, and which is, nobody here can tell: the first stays. */
static json_t *keep(json_t *received, OlmInboundGroupSession *session) {
    const char *id = inbound_id(session);
    json_t *known = field(received, id);
    if (known != NULL) {
        session = earlier_inbound(open_inbound(json_string_value(known)), session);
        if (session == NULL) {
            refuse(DUPLICATE, "another Megolm session has the id %s already", id);
        }
    }
    json_object_set(received, id, own(json_string(close_inbound(session))));
    return own(json_object());
}

/* A message does not say to which session it belongs; its signature holds under the key of one. If it holds under none, it
 * cannot be known whether the message is broken or that session is not here. */
static json_t *deliver_megolm_message(json_t *received, struct bytes message) {
    enum OlmErrorCode refusal = OLM_SUCCESS;
    const char *id;
    json_t *pickle;
    json_object_foreach(received, id, pickle) {
        OlmInboundGroupSession *session = open_inbound(json_string_value(pickle));
        struct bytes plaintext;
        uint32_t index;
        refusal = inbound_decrypt(session, message, &plaintext, &index);
        if (refusal == OLM_SUCCESS) {
            const char *sender = hex(from_base64(id, strlen(id)));
            json_object_set(received, id, own(json_string(close_inbound(session))));
            return pack("{s:s, s:s, s:I}", "plaintext", hex(plaintext), "sender", sender, "message_index",
                        (json_int_t)index);
        }
        if (refusal != OLM_BAD_SIGNATURE) {
            break;
        }
    }
    if (refusal == OLM_SUCCESS) {
        refuse(NO_KEY, "there is no Megolm session");
    }
    refuse_as(refusal, words_of(refusal));
}

static json_t *deliver_megolm(json_t *state, const char *kind, json_t *delivery) {
    json_t *received = field(state, "received");
    struct bytes bytes = bytes_in(delivery, "bytes");
    if (field(delivery, "from") != NULL) {
        refuse(BAD_REQUEST, "a delivery of Megolm's is from nobody");
    }
    if (strcmp(kind, "session_key") == 0) {
        return keep(received, inbound_from_key(bytes));
    }
    if (strcmp(kind, "exported_session_key") == 0) {
        return keep(received, inbound_from_export(bytes));
    }
    if (strcmp(kind, "megolm_message") == 0) {
        return deliver_megolm_message(received, bytes);
    }
    refuse(BAD_REQUEST, "a receiver of Megolm's takes no %s", kind);
}

json_t *deliver(void *argument, json_t *delivery) {
    struct passive *passive = argument;
    const char *kind = text_in(delivery, "kind");
    if (field(delivery, "ratchet_tree") != NULL) {
        refuse(BAD_REQUEST, "a ratchet tree beside a delivery that is not of MLS");
    }
    return field(passive->state, "account") != NULL ? deliver_olm(passive->state, kind, delivery)
                                                    : deliver_megolm(passive->state, kind, delivery);
}

/* Megolm: one group's sessions, the own one and those received. A group's id is the name of a drawer here. */
#include <string.h>

#include "device.h"

/* Whose message it is: a session knows only its own signing key. */
static const char SENDER[] = "olm_group_decrypt";
/* Whether a message has been read before. */
static const char REPLAY[] = "olm_group_decrypt(message_index)";
/* Whether a session that is handed on is whose it is said to be. */
static const char IMPORT[] = "olm_import_inbound_group_session";

/* A session id is an Ed25519 key in unpadded base64. It stands before a message: Megolm's own format does not name the
 * session, a Matrix event does beside it. */
enum { SESSION_ID_LENGTH = 43 };

static json_t *drawer(struct device *device, const char *group) {
    json_t *drawers = field(device->state, "megolm");
    json_t *found = field(drawers, group);
    if (found == NULL) {
        found = pack("{s:{}}", "received");
        json_object_set(drawers, group, found);
    }
    return found;
}

static OlmOutboundGroupSession *empty_outbound(void) {
    return olm_outbound_group_session(room(olm_outbound_group_session_size()));
}

static size_t checked(size_t result, OlmOutboundGroupSession *session) {
    if (result == olm_error()) {
        refuse_as(olm_outbound_group_session_last_error_code(session), olm_outbound_group_session_last_error(session));
    }
    return result;
}

static OlmOutboundGroupSession *open_own(struct device *device, const char *group) {
    json_t *pickle = field(drawer(device, group), "own");
    if (pickle == NULL) {
        refuse(NO_KEY, "there is no outbound Megolm session for this group");
    }
    OlmOutboundGroupSession *session = empty_outbound();
    char *copy = format("%s", json_string_value(pickle));
    checked(olm_unpickle_outbound_group_session(session, PICKLE_KEY, PICKLE_KEY_LENGTH, copy, strlen(copy)), session);
    return session;
}

static void close_own(struct device *device, const char *group, OlmOutboundGroupSession *session) {
    size_t length = olm_pickle_outbound_group_session_length(session);
    char *pickle = room(length + 1);
    checked(olm_pickle_outbound_group_session(session, PICKLE_KEY, PICKLE_KEY_LENGTH, pickle, length), session);
    json_object_set(drawer(device, group), "own", own(json_string(pickle)));
}

void renew_session(struct device *device, const char *group) {
    OlmOutboundGroupSession *session = empty_outbound();
    struct bytes random = random_bytes(olm_init_outbound_group_session_random_length(session));
    checked(olm_init_outbound_group_session(session, (uint8_t *)(uintptr_t)random.at, random.length), session);
    close_own(device, group, session);
}

struct bytes session_key(struct device *device, const char *group) {
    OlmOutboundGroupSession *session = open_own(device, group);
    size_t length = olm_outbound_group_session_key_length(session);
    char *text = room(length + 1);
    checked(olm_outbound_group_session_key(session, (uint8_t *)text, length), session);
    return from_base64(text, length);
}

struct bytes encrypt_in(struct device *device, const char *group, struct bytes plaintext) {
    OlmOutboundGroupSession *session = open_own(device, group);
    size_t id_length = olm_outbound_group_session_id_length(session);
    char *id = room(id_length + 1);
    checked(olm_outbound_group_session_id(session, (uint8_t *)id, id_length), session);
    size_t length = olm_group_encrypt_message_length(session, plaintext.length);
    char *text = room(length + 1);
    length = checked(olm_group_encrypt(session, plaintext.at, plaintext.length, (uint8_t *)text, length), session);
    close_own(device, group, session);
    return join((struct bytes[]){bytes_of(id), from_base64(text, length)}, 2);
}

/* Takes a session. One that is here already stays its first owner's, and is extended backwards if the new one begins
 * earlier. libolm has no call for that; that both are one session shows where their ratchets agree at one index. */
void take_session(struct device *device, const char *group, const char *owner, OlmInboundGroupSession *session) {
    const char *id = inbound_id(session);
    json_t *received = field(drawer(device, group), "received");
    json_t *known = field(received, id);
    if (known != NULL) {
        session = earlier_inbound(open_inbound(text_in(known, "session")), session);
        if (session == NULL) {
            refuse(DUPLICATE, "another Megolm session has the id %s already", id);
        }
        owner = text_in(known, "owner");
    }
    json_object_set(received, id, pack("{s:s, s:s}", "owner", owner, "session", close_inbound(session)));
}

struct bytes megolm_message_in(struct bytes envelope) {
    if (envelope.length < SESSION_ID_LENGTH) {
        return (struct bytes){envelope.at, 0};
    }
    return (struct bytes){envelope.at + SESSION_ID_LENGTH, envelope.length - SESSION_ID_LENGTH};
}

struct bytes decrypt_in(struct device *device, const char *group, const char *claimed, struct bytes envelope) {
    if (envelope.length < SESSION_ID_LENGTH) {
        refuse(BAD_REQUEST, "truncated session id");
    }
    char *id = room(SESSION_ID_LENGTH + 1);
    memcpy(id, envelope.at, SESSION_ID_LENGTH);
    json_t *received = field(field(drawer(device, group), "received"), id);
    if (received == NULL) {
        refuse(NO_KEY, "there is no such Megolm session in this group");
    }
    const char *owner = text_in(received, "owner");
    if (strcmp(owner, claimed) != 0) {
        require(device->notebook, SENDER, LIBRARY,
                pack("{s:s, s:s, s:s, s:s}", "fact", "sender", "group", group, "claimed", claimed, "owner", owner));
    }
    OlmInboundGroupSession *session = open_inbound(text_in(received, "session"));
    struct bytes plaintext;
    uint32_t index;
    enum OlmErrorCode code = inbound_decrypt(session, megolm_message_in(envelope), &plaintext, &index);
    if (code != OLM_SUCCESS) {
        refuse_as(code, words_of(code));
    }
    json_object_set(received, "session", own(json_string(close_inbound(session))));
    /* Only decrypting shows that the index is the sender's. */
    require(device->notebook, REPLAY, LIBRARY,
            pack("{s:s, s:s, s:s, s:I}", "fact", "replay", "device", claimed, "session", id, "index", (json_int_t)index));
    return plaintext;
}

json_t *export_sessions(struct device *device, const char *group) {
    json_t *keys = own(json_array());
    const char *id;
    json_t *received;
    json_object_foreach(field(drawer(device, group), "received"), id, received) {
        OlmInboundGroupSession *session = open_inbound(text_in(received, "session"));
        struct bytes key = inbound_export(session, olm_inbound_group_session_first_known_index(session));
        json_array_append(keys, pack("{s:s, s:s}", "owner", text_in(received, "owner"), "key", hex(key)));
    }
    return keys;
}

void import_session(
    struct device *device, const char *group, const char *from, const char *owner, struct bytes exported) {
    OlmInboundGroupSession *session = inbound_from_export(exported);
    require(device->notebook, IMPORT, LIBRARY,
            pack("{s:s, s:s, s:s, s:s}", "fact", "sender", "group", group, "claimed", owner, "owner", from));
    take_session(device, group, owner, session);
}

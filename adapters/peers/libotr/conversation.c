/* A conversation between two accounts, and what libotr leaves to its application.
 *
 * libotr calls back while it works. What it tells is written down and dealt with after it has returned: by then its state
 * has changed, and cannot be copied. So where the application has yet to be asked about a fingerprint, what libotr wanted to
 * send and show is held by peer, and the same packet finds it again when the call is repeated. A conversation whose
 * fingerprint has not been accepted is neither written to nor read from, and a no ends it. That is this adapter's own doing:
 * libotr hands over what it has to send, and goes on. */
#include <stdlib.h>
#include <string.h>

#include "device.h"

/* Whether the keys of a conversation are the peer's: libotr only keeps what its application says about it. */
static const char TRUST[] = "otrl_context_set_trust";

/* What libotr told during one call. Values are JSON's own, and belong to nobody's request: a callback must not throw. */
struct told {
    json_t *injected;
    OtrlMessageEvent event; /* the first that is an error */
    gcry_error_t error;
    ConnContext *opened;
    bool refreshed; /* with the fingerprint that it had before */
};

static OtrlPolicy policy(void *data, ConnContext *context) {
    (void)data;
    (void)context;
    return OTRL_POLICY_ALWAYS & ~OTRL_POLICY_ALLOW_V2;
}

static int is_logged_in(void *data, const char *account, const char *network, const char *recipient) {
    (void)data;
    (void)account;
    (void)network;
    (void)recipient;
    return 1;
}

static void inject(
    void *data, const char *account, const char *network, const char *recipient, const char *message) {
    (void)account;
    (void)network;
    (void)recipient;
    json_array_append_new(((struct told *)data)->injected, json_string(message));
}

static void gone_secure(void *data, ConnContext *context) {
    ((struct told *)data)->opened = context;
}

static void still_secure(void *data, ConnContext *context, int is_reply) {
    (void)is_reply;
    ((struct told *)data)->opened = context;
    ((struct told *)data)->refreshed = true;
}

static void message_event(
    void *data, OtrlMessageEvent event, ConnContext *context, const char *message, gcry_error_t error) {
    (void)context;
    (void)message;
    struct told *told = data;
    switch (event) {
    case OTRL_MSGEVENT_ENCRYPTION_REQUIRED: /* a query goes out instead */
    case OTRL_MSGEVENT_MSG_RESENT:
    case OTRL_MSGEVENT_LOG_HEARTBEAT_RCVD:
    case OTRL_MSGEVENT_LOG_HEARTBEAT_SENT:
    case OTRL_MSGEVENT_RCVDMSG_GENERAL_ERR: /* the peer could not read something */
        return;
    default:
        if (told->event == OTRL_MSGEVENT_NONE) {
            told->event = event;
            told->error = error;
        }
    }
}

/* What is not here, libotr does without: no error messages to the peer, no timer, no fragments. */
static const OtrlMessageAppOps CALLBACKS = {
    .policy = policy,
    .is_logged_in = is_logged_in,
    .inject_message = inject,
    .gone_secure = gone_secure,
    .still_secure = still_secure,
    .handle_msg_event = message_event,
};

static struct told listen(void) {
    return (struct told){.injected = own(json_array()), .event = OTRL_MSGEVENT_NONE};
}

static ConnContext *conversation_with(const struct device *device, const char *peer, otrl_instag_t instance) {
    return otrl_context_find(device->state, peer, device->id, NETWORK, instance, 0, NULL, NULL, NULL);
}

/* The conversation that is written to: of several with one peer the one that was last opened or read from. libotr's own
 * choice, OTRL_INSTAG_BEST, looks at the conversation's state and at trust before that. NULL if there is none. */
static ConnContext *present(const struct device *device, const char *peer) {
    json_t *accepted = field(device->accepted, peer);
    if (accepted == NULL || field(device->held, peer) != NULL) {
        return NULL;
    }
    return conversation_with(device, peer, (otrl_instag_t)json_integer_value(field(accepted, "instance")));
}

bool in_private(const struct device *device, const char *peer) {
    const ConnContext *context = present(device, peer);
    return context != NULL && context->msgstate == OTRL_MSGSTATE_ENCRYPTED;
}

static const char *fingerprint_of(const ConnContext *context) {
    return hex((struct bytes){context->active_fingerprint->fingerprint, 20});
}

const char *peer_fingerprint(const struct device *device, const char *peer) {
    const ConnContext *context = present(device, peer);
    return context == NULL || context->active_fingerprint == NULL ? NULL : fingerprint_of(context);
}

const char *query(const struct device *device) {
    char *made = otrl_proto_default_query_msg(device->id, policy(NULL, NULL));
    char *text = format("%s", made);
    free(made);
    return text;
}

static _Noreturn void refuse_event(OtrlMessageEvent event, gcry_error_t error) {
    switch (event) {
    case OTRL_MSGEVENT_RCVDMSG_UNREADABLE:
        /* A tag that does not fit, a message that came before, and keys that are gone have this one name
         * (src/proto.c:804-835). */
        refuse(AUTH_FAILED, "OTRL_MSGEVENT_RCVDMSG_UNREADABLE");
    case OTRL_MSGEVENT_SETUP_ERROR:
        refuse(AUTH_FAILED, "OTRL_MSGEVENT_SETUP_ERROR: %s", gcry_strerror(error));
    case OTRL_MSGEVENT_RCVDMSG_UNENCRYPTED:
        /* libotr hands over the text with the event, and leaves it to its application what to do with it. */
        refuse(AUTH_FAILED, "OTRL_MSGEVENT_RCVDMSG_UNENCRYPTED");
    case OTRL_MSGEVENT_RCVDMSG_NOT_IN_PRIVATE:
        refuse(NO_KEY, "OTRL_MSGEVENT_RCVDMSG_NOT_IN_PRIVATE");
    case OTRL_MSGEVENT_RCVDMSG_FOR_OTHER_INSTANCE:
        refuse(NO_KEY, "OTRL_MSGEVENT_RCVDMSG_FOR_OTHER_INSTANCE");
    case OTRL_MSGEVENT_CONNECTION_ENDED:
        refuse(NO_KEY, "OTRL_MSGEVENT_CONNECTION_ENDED");
    case OTRL_MSGEVENT_MSG_REFLECTED:
        refuse(BAD_REQUEST, "OTRL_MSGEVENT_MSG_REFLECTED");
    case OTRL_MSGEVENT_RCVDMSG_MALFORMED:
        refuse(BAD_REQUEST, "OTRL_MSGEVENT_RCVDMSG_MALFORMED");
    case OTRL_MSGEVENT_RCVDMSG_UNRECOGNIZED:
        refuse(BAD_REQUEST, "OTRL_MSGEVENT_RCVDMSG_UNRECOGNIZED");
    default:
        refuse(INTERNAL, "message event %d: %s", (int)event, gcry_strerror(error));
    }
}

/* Two copies of what libotr allocated: a string of this request. */
static const char *taken(char *message) {
    if (message == NULL) {
        return NULL;
    }
    char *text = format("%s", message);
    otrl_message_free(message);
    return text;
}

const char *converse(struct device *device, const char *peer, const char *text) {
    struct told told = listen();
    char *message = NULL;
    const ConnContext *context = present(device, peer);
    otrl_instag_t instance = context != NULL ? context->their_instance : OTRL_INSTAG_BEST;
    gcry_error_t error = otrl_message_sending(
        device->state, &CALLBACKS, &told, device->id, NETWORK, peer, instance, text, NULL, &message,
        OTRL_FRAGMENT_SEND_SKIP, NULL, NULL, NULL);
    const char *encrypted = taken(message);
    if (told.event != OTRL_MSGEVENT_NONE) {
        refuse_event(told.event, told.error);
    }
    if (error || encrypted == NULL) {
        /* Under this policy nothing goes out as it is. */
        refuse(INTERNAL, "otrl_message_sending: %s", gcry_strerror(error));
    }
    return encrypted;
}

static void accept(struct device *device, const char *peer, const char *fingerprint, json_int_t instance) {
    json_object_set(
        device->accepted, peer, pack("{s:s, s:I}", "fingerprint", fingerprint, "instance", instance));
}

void settle(struct device *device, const char *peer, json_t *injected) {
    json_t *held = field(device->held, peer);
    if (held == NULL) {
        return;
    }
    own(json_incref(held));
    const char *fingerprint = text_in(held, "fingerprint");
    json_int_t instance = json_integer_value(field(held, "instance"));
    json_t *before = field(field(device->accepted, peer), "fingerprint");
    bool changed = before != NULL && strcmp(json_string_value(before), fingerprint) != 0;
    if (!json_is_true(field(held, "refreshed"))) {
        json_t *fact = pack("{s:s, s:s, s:{s:s, s:s, s:s}}", "fact", "identity", "device", peer, "identity", "account_key",
                            fingerprint, "device_key", fingerprint, "voucher", "");
        if (changed) {
            json_object_set(fact, "previous", before);
        }
        bool yes = consult(device->notebook, TRUST, LIBRARY, fact);
        ConnContext *context = conversation_with(device, peer, (otrl_instag_t)instance);
        json_object_del(device->held, peer);
        if (!yes) {
            /* What was held is dropped, a message that libotr had kept among it. */
            otrl_context_force_plaintext(context);
            refuse(UNTRUSTED_IDENTITY, "the application said no at %s: identity", TRUST);
        }
        otrl_context_set_trust(context->active_fingerprint, "accepted");
    }
    json_object_del(device->held, peer);
    if (changed) {
        note(device->notebook, pack("{s:s, s:s}", "event", "key_changed", "device", peer));
    }
    accept(device, peer, fingerprint, instance);
    note(device->notebook, pack("{s:s, s:s}", "event", "session_opened", "peer", peer));
    json_array_extend(injected, field(held, "injected"));
}

json_t *hear(struct device *device, const char *peer, const char *text) {
    json_t *injected = own(json_array());
    json_t *held = field(device->held, peer);
    if (held != NULL && strcmp(text_in(held, "text"), text) == 0) {
        settle(device, peer, injected);
        return pack("{s:O}", "injected", injected);
    }
    settle(device, peer, injected);

    struct told told = listen();
    char *message = NULL;
    ConnContext *context = NULL;
    int internal = otrl_message_receiving(
        device->state, &CALLBACKS, &told, device->id, NETWORK, peer, text, &message, NULL, &context, NULL, NULL);
    const char *plaintext = taken(message);
    if (told.opened != NULL) {
        json_object_set(
            device->held, peer,
            pack("{s:s, s:s, s:I, s:b, s:O}", "text", text, "fingerprint", fingerprint_of(told.opened), "instance",
                 (json_int_t)told.opened->their_instance, "refreshed", told.refreshed, "injected", told.injected));
        settle(device, peer, injected);
    } else {
        json_array_extend(injected, told.injected);
    }
    if (told.event != OTRL_MSGEVENT_NONE) {
        refuse_event(told.event, told.error);
    }
    if (internal) {
        return pack("{s:O}", "injected", injected);
    }
    if (plaintext == NULL || context == NULL || context->active_fingerprint == NULL) {
        refuse(INTERNAL, "libotr lets something through that is not encrypted, against its policy");
    }
    accept(device, peer, fingerprint_of(context), context->their_instance);
    return pack("{s:O, s:s}", "injected", injected, "plaintext", plaintext);
}

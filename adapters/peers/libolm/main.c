/* libolm as an adapter of E2ESM: who it is, its calls, and what makes a refused call cost nothing. README.md has the
 * choices and the decision points. */
#define _POSIX_C_SOURCE 200809L
#include <stdlib.h>
#include <string.h>

#include "device.h"

static json_t *describe(void) {
    static const char NEVER[] = "MLS only: there is no tree, and an invitation holds the list of members";
    uint8_t major, minor, patch;
    olm_get_library_version(&major, &minor, &patch);
    json_t *configuration = pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s}", "olm", "version 1: AES-256-CBC, HMAC-SHA-256 truncated to 8 bytes", "megolm",
        "version 1: AES-256-CBC, HMAC-SHA-256 truncated to 8 bytes, Ed25519", "bundles",
        "one-time keys, signed as Matrix signs them; no fallback key; libolm keeps 100", "inbound group sessions",
        "kept from their first known index", "rotation", "none by count or time", "randomness",
        "the system's, by getentropy: libolm takes it from its caller");
    json_t *unsupported = pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "degenerate_key",
        "this adapter has no such fault", "epochs",
        "membership is managed by the server: there is no group state to agree on, and nothing is numbered", "external_join",
        "there is no public group information with which a device could join by its own act", "ratchet_tree", NEVER,
        "uninvited_join", "there is no joining by one's own act, invited or not", "wrong_leaf_signature",
        "MLS only: there are no leaves", "wrong_parent_hash", "MLS only: there is no tree", "wrong_confirmation_tag",
        "MLS only: there are no commits");
    return pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:b, s:[s, s], s:O}", "name", "libolm", "implementation", "libolm", "version",
        format("%u.%u.%u", major, minor, patch), "protocol", "Olm and Megolm", "cipher_suite",
        "Olm version 1, Megolm version 1 (Curve25519, Ed25519, AES-256-CBC, HMAC-SHA-256)", "crypto_provider",
        "libolm's own: curve25519-donna, ed25519, crypto-algorithms", "configuration", configuration, "group_object", 0,
        "recorded", "olm", "megolm", "unsupported", unsupported);
}

/* Devices. */

static struct device *device_with(const char *id, json_t *state, struct notebook *notebook) {
    struct device *device = calloc(1, sizeof *device);
    char *name = strdup(id);
    if (device == NULL || name == NULL) {
        abort();
    }
    *device = (struct device){name, notebook, json_incref(state), json_pack("{s:{}}", "archive"), json_array()};
    return device;
}

static void *new_device(const char *id, struct notebook *notebook) {
    json_t *state = new_keys(id);
    json_object_set(state, "peers", own(json_object()));
    json_object_set(state, "megolm", own(json_object()));
    json_object_set(state, "groups", own(json_object()));
    return device_with(id, state, notebook);
}

static void drop_device(void *argument) {
    struct device *device = argument;
    json_decref(device->state);
    json_decref(device->rest);
    json_decref(device->transcript);
    free(device->id);
    free(device);
}

/* Whether what is stored can be read: libolm's objects are unpickled once, the rest is looked at where it is used. */
static void check_state(const char *id, json_t *state) {
    static const struct shape STATE[] = {
        {.name = "device", .kind = DEVICE}, {.name = "account", .kind = TEXT},   {.name = "device_key", .kind = BYTES},
        {.name = "private", .kind = ANY},   {.name = "trust", .kind = ANY},      {.name = "peers", .kind = ANY},
        {.name = "megolm", .kind = ANY},    {.name = "groups", .kind = ANY},     {0}};
    check(state, STATE, "state");
    if (strcmp(text_in(state, "device"), id) != 0) {
        refuse(BAD_REQUEST, "the state is %s's, not %s's", text_in(state, "device"), id);
    }
    open_account(text_in(state, "account"));
    const char *name;
    json_t *entry;
    json_object_foreach(field(state, "peers"), name, entry) {
        size_t index;
        json_t *pickle;
        json_array_foreach(field(entry, "sessions"), index, pickle) {
            open_session(json_is_string(pickle) ? json_string_value(pickle) : "");
        }
    }
    json_object_foreach(field(state, "megolm"), name, entry) {
        const char *session;
        json_t *received;
        json_object_foreach(field(entry, "received"), session, received) {
            json_t *pickle = field(received, "session");
            open_inbound(json_is_string(pickle) ? json_string_value(pickle) : "");
        }
    }
}

static void *restore(const char *id, struct bytes text, struct notebook *notebook) {
    json_error_t error;
    json_t *state = json_loadb((const char *)text.at, text.length, JSON_REJECT_DUPLICATES, &error);
    if (state == NULL) {
        refuse(BAD_REQUEST, "malformed state: %s", error.text);
    }
    check_state(id, own(state));
    return device_with(id, state, notebook);
}

/* A refused call costs nothing: the state of before is put back. That is done here for all calls at once, and not left to
 * the order in which libolm changes its objects and this adapter asks. */
struct transaction {
    json_t *(*call)(struct device *, json_t *);
    struct device *device;
    json_t *fields;
    json_t *result;
};

static void run(void *argument) {
    struct transaction *transaction = argument;
    transaction->result = transaction->call(transaction->device, transaction->fields);
}

static json_t *safely(json_t *(*call)(struct device *, json_t *), void *argument, json_t *fields) {
    struct device *device = argument;
    json_t *state = json_deep_copy(device->state), *rest = json_deep_copy(device->rest);
    struct transaction transaction = {call, device, fields, NULL};
    struct refusal refusal;
    bool succeeded = attempt(run, &transaction, &refusal);
    /* What is not needed any more lives as long as the request: its parts may stand in the reply. */
    own(succeeded ? state : device->state);
    own(succeeded ? rest : device->rest);
    if (!succeeded) {
        device->state = state;
        device->rest = rest;
        rethrow(&refusal);
    }
    return transaction.result;
}

/* Calls. `CALL` makes one of an expression over `device` and `fields`; `CHANGING` makes one that is put back if refused. */

#define CALL(name, expression) \
    static json_t *call_##name(void *argument, json_t *fields) { \
        struct device *device = argument; \
        (void)fields; \
        return expression; \
    }
#define CHANGING(name, expression) \
    static json_t *do_##name(struct device *device, json_t *fields) { \
        (void)fields; \
        return expression; \
    } \
    static json_t *call_##name(void *argument, json_t *fields) { \
        return safely(do_##name, argument, fields); \
    }

static json_t *accept(struct device *device, json_t *fields) {
    accept_authorisation(device, field(fields, "authorisation"));
    return NULL;
}

static json_t *peer_fingerprint(const struct device *device, json_t *fields) {
    known_group(device, text_in(fields, "group"));
    return fingerprint(device, text_in(fields, "peer"));
}

static json_t *state_bytes(const struct device *device) {
    return own(json_string(hex(write_json(device->state))));
}

#define GROUP text_in(fields, "group")
CALL(identity, identity_of(device))
CALL(roster, roster(device, GROUP))
CALL(wants, wants(device, GROUP))
CALL(fingerprint, peer_fingerprint(device, fields))
CALL(link_request, link_request(device))
CALL(authorise, authorise(device, field(fields, "request")))
CALL(export_state, state_bytes(device))
CALL(standard_keys, standard_keys(device))
CALL(transcript, transcript(device))
CHANGING(publish, publish(device))
CHANGING(create_group, create_group(device, GROUP))
CHANGING(change, change(device, GROUP, field(fields, "change")))
CHANGING(send, send_message(device, GROUP, bytes_in(fields, "plaintext")))
CHANGING(receive, receive(device, field(fields, "packet")))
CHANGING(introduce, introduce(device, field(fields, "bundle")))
CHANGING(
    resend, resend(device, GROUP, bytes_in(fields, "plaintext"), field(fields, "bundle"),
                   json_is_true(field(fields, "acknowledged"))))
CHANGING(share_history, share_history(device, GROUP, text_in(fields, "to")))
CHANGING(request_keys, request_keys(device, GROUP, text_in(fields, "holder")))
CHANGING(accept_authorisation, accept(device, fields))

static const struct method METHODS[] = {
    {"identity", call_identity},
    {"publish", call_publish},
    {"create_group", call_create_group},
    {"change", call_change},
    {"wants", call_wants},
    {"send", call_send},
    {"receive", call_receive},
    {"roster", call_roster},
    {"introduce", call_introduce},
    {"fingerprint", call_fingerprint},
    {"resend", call_resend},
    {"share_history", call_share_history},
    {"request_keys", call_request_keys},
    {"link_request", call_link_request},
    {"authorise", call_authorise},
    {"accept_authorisation", call_accept_authorisation},
    {"store", call_export_state},
    {"export_state", call_export_state},
    {"standard_keys", call_standard_keys},
    {"transcript", call_transcript},
    {0}};

/* Attackers. */

static const char *const FAULTS_HAD[] = {"relabelled_sender", NULL};

static void misbehave(void *argument, const char *fault, const char *other) {
    struct device *device = argument;
    if (strcmp(fault, "none") == 0) {
        json_object_del(device->rest, "relabel");
    } else {
        json_object_set(device->rest, "relabel", own(json_string(other)));
    }
}

struct forging {
    const char *forgery;
    json_t *fields;
};

static json_t *forge_with(struct device *device, json_t *fields) {
    return forge(device, text_in(fields, "forgery"), field(fields, "fields"));
}

static json_t *craft(void *argument, const char *forgery, json_t *fields) {
    return safely(forge_with, argument, pack("{s:s, s:O}", "forgery", forgery, "fields", fields));
}

int main(void) {
    static const struct adapter ADAPTER = {
        .describe = describe,
        .device = new_device,
        .drop = drop_device,
        .methods = METHODS,
        .restore = restore,
        .load = restore,
        .faults = FAULTS_HAD,
        .misbehave = misbehave,
        .forgeries = FORGERIES_MADE,
        .craft = craft,
        .passive = start_passive,
        .deliver = deliver,
        .drop_passive = drop_passive,
    };
    return serve(&ADAPTER);
}

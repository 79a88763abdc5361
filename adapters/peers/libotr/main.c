/* libotr as an adapter of E2ESM: who it is, and its calls. README.md has the choices and the decision points. */
#include <gcrypt.h>
#include <stdlib.h>
#include <string.h>

#include "device.h"

static json_t *describe(void) {
    static const char NO_SENDER_KEYS[] = "a conversation has two ends and keys of its own: there are no sender keys";
    static const char MLS_ONLY[] = "MLS only";
    json_t *configuration = pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "policy", "OTRL_POLICY_ALWAYS without version 2: encryption is required",
        "instance", "of several with one device the one last opened or read from is written to", "long-term keys",
        "DSA, 1024 bits, in the group of RFC 5114, section 2.1, instead of one of its own for each", "randomness",
        "libgcrypt's, with GCRYCTL_ENABLE_QUICK_RANDOM", "trust",
        "otrl_context_set_trust after the application has accepted a fingerprint; SMP is not used", "callbacks",
        "no otr_error_message: a peer is not told what could not be read", "fragments", "none", "before a fingerprint is accepted",
        "what libotr wants to send is held, and thrown away after a no: the adapter's own doing, libotr hands it over at once",
        "plain text",
        "always refused: the adapter's own doing, libotr hands it over with OTRL_MSGEVENT_RCVDMSG_UNENCRYPTED");
    json_t *unsupported = own(json_object());
    static const char *const REASONS[][2] = {
        {"third_member", "OTR is for two: the handshake and its keys have two ends"},
        {"epochs", "two parties, and no state that they number together"},
        {"key_distribution", NO_SENDER_KEYS},
        {"resend",
         "libotr repeats the last message itself when a conversation is opened again after an error; there is no call for it"},
        {"history", "message keys are used once and gone: there are none to hand over"},
        {"key_request", "message keys are used once and gone: there are none to ask for"},
        {"linking", "each device has a key of its own, and nothing vouches for it but a comparison of fingerprints"},
        {"external_join", "a conversation has two ends: there is nothing to join"},
        {"state_export", "libotr has no form in which a conversation could be copied: ConnContext lives in memory only"},
        {"persistence", "libotr stores keys, instance tags and fingerprints, but no conversation"},
        {"ratchet_tree", MLS_ONLY},
        {"standard_keys", "nothing is published: the keys of a handshake are made when it begins"},
        {"degenerate_key", "no key is published; those of the handshake are checked and made inside libotr"},
        {"wrong_leaf_signature", MLS_ONLY},
        {"wrong_parent_hash", MLS_ONLY},
        {"wrong_confirmation_tag", MLS_ONLY},
        {"forged_key_distribution", NO_SENDER_KEYS},
        {"uninvited_join", "a conversation has two ends: there is nothing to join"},
        {"broken_bundle", "nothing is published, so that there is no signature to break"},
        {"rewritten_identity", "the long-term keys travel encrypted in the handshake: an outsider has nothing to rewrite"},
    };
    for (size_t i = 0; i < sizeof REASONS / sizeof *REASONS; i++) {
        json_object_set(unsupported, REASONS[i][0], own(json_string(REASONS[i][1])));
    }
    return pack(
        "{s:s, s:s, s:s, s:s, s:s, s:s, s:O, s:b, s:O}", "name", "libotr", "implementation", "libotr", "version",
        otrl_version(), "protocol", "OTR version 3", "cipher_suite",
        "DSA-1024, Diffie-Hellman over a 1536-bit group, AES-128-CTR, HMAC-SHA-1", "crypto_provider",
        format("libgcrypt %s", gcry_check_version(NULL)), "configuration", configuration, "group_object", 0, "unsupported",
        unsupported);
}

static void drop_device(void *argument) {
    struct device *device = argument;
    otrl_userstate_free(device->state);
    json_decref(device->groups);
    json_decref(device->accepted);
    json_decref(device->held);
    json_decref(device->written);
    free(device->relabel);
    free(device->id);
    free(device);
}

static void *new_device(const char *id, struct notebook *notebook) {
    OtrlUserState state = otrl_userstate_create();
    make_key(state, id);
    make_instance_tag(state, id);
    struct device *device = calloc(1, sizeof *device);
    char *name = strdup(id);
    if (device == NULL || name == NULL) {
        abort();
    }
    *device = (struct device){
        .id = name,
        .notebook = notebook,
        .state = state,
        .groups = json_object(),
        .accepted = json_object(),
        .held = json_object(),
        .written = json_object(),
    };
    return device;
}

static json_t *call_identity(void *device, json_t *fields) {
    (void)fields;
    const char *fingerprint = own_fingerprint(device);
    return pack("{s:s, s:s, s:s}", "account_key", fingerprint, "device_key", fingerprint, "voucher", "");
}

/* OTR publishes nothing: a bundle is a name. */
static json_t *call_publish(void *device, json_t *fields) {
    (void)fields;
    return pack("{s:s, s:s}", "device", ((struct device *)device)->id, "bytes", "");
}

static json_t *call_create_group(void *device, json_t *fields) {
    return create_group(device, text_in(fields, "group"));
}

static json_t *call_change(void *device, json_t *fields) {
    return change(device, text_in(fields, "group"), field(fields, "change"));
}

static json_t *call_wants(void *device, json_t *fields) {
    return wants(device, text_in(fields, "group"));
}

static json_t *call_send(void *device, json_t *fields) {
    struct bytes plaintext = bytes_in(fields, "plaintext");
    char *text = room(plaintext.length + 1);
    memcpy(text, plaintext.at, plaintext.length);
    if (strlen(text) != plaintext.length) {
        refuse(BAD_REQUEST, "what follows a zero in a message is not its text in OTR");
    }
    return send_message(device, text_in(fields, "group"), text);
}

static json_t *call_receive(void *device, json_t *fields) {
    return receive(device, field(fields, "packet"));
}

static json_t *call_roster(void *device, json_t *fields) {
    return roster(device, text_in(fields, "group"));
}

static json_t *call_introduce(void *device, json_t *fields) {
    return introduce(device, field(fields, "bundle"));
}

static json_t *call_fingerprint(void *device, json_t *fields) {
    return fingerprint(device, text_in(fields, "group"), text_in(fields, "peer"));
}

static const struct method METHODS[] = {
    {"identity", call_identity},   {"publish", call_publish}, {"create_group", call_create_group},
    {"change", call_change},       {"wants", call_wants},     {"send", call_send},
    {"receive", call_receive},     {"roster", call_roster},   {"introduce", call_introduce},
    {"fingerprint", call_fingerprint}, {0}};

static const char *const FAULTS_HAD[] = {"relabelled_sender", NULL};

static void misbehave(void *argument, const char *fault, const char *other) {
    struct device *device = argument;
    (void)fault;
    free(device->relabel);
    device->relabel = other != NULL ? strdup(other) : NULL;
}

static const char *const FORGERIES_MADE[] = {"message", "change", NULL};

static json_t *craft(void *device, const char *forgery, json_t *fields) {
    return strcmp(forgery, "message") == 0 ? forge_message(device, fields) : forge_change(device, fields);
}

int main(void) {
    static const struct adapter ADAPTER = {
        .describe = describe,
        .device = new_device,
        .drop = drop_device,
        .methods = METHODS,
        .faults = FAULTS_HAD,
        .misbehave = misbehave,
        .forgeries = FORGERIES_MADE,
        .craft = craft,
    };
    start_libotr();
    return serve(&ADAPTER);
}

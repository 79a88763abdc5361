/* What an outsider crafts out of its own keys and what the server knows. */
#include <string.h>

#include "device.h"

const char *const FORGERIES_MADE[] = {
    "message", "key_distribution", "change", "broken_bundle", "rewritten_identity", NULL};

/* A new sender key, never to be used in earnest if this device is (or was) a member itself. */
static void forged_key(struct device *device, const char *id) {
    renew_session(device, id);
    json_t *group = field(field(device->state, "groups"), id);
    if (group != NULL) {
        retire_key(group);
    }
}

static json_t *claimed(json_t *packet, const char *claim) {
    json_object_set(packet, "from", own(json_string(claim)));
    return packet;
}

static json_t *forged_message(struct device *device, const char *id, const char *claim, struct bytes plaintext) {
    return claimed(packet(device, "message", id, to_group(id), encrypt_in(device, id, plaintext), false), claim);
}

/* A sender key for each victim, and a message under it. */
static json_t *forge_key_distribution(struct device *device, const char *id, const char *claim, json_t *fields) {
    json_t *victims = field(fields, "victims");
    forged_key(device, id);
    struct bytes content = write_content(SENDER_KEY, id, session_key(device, id));
    introduce_all(device, victims);
    json_t *made = own(json_array());
    size_t index;
    json_t *victim;
    json_array_foreach(victims, index, victim) {
        json_t *sealed = seal(device, "key_distribution", id, text_in(victim, "device"), content);
        json_array_append(made, claimed(sealed, claim));
    }
    json_array_append(made, forged_message(device, id, claim, bytes_in(fields, "plaintext")));
    return packets(made);
}

/* A change, and the invitations that let those slipped in take part: a ghost that has no roster could not even try. */
static json_t *forge_change(struct device *device, const char *id, const char *claim, json_t *fields) {
    json_t *members = set_of(field(field(fields, "group"), "members"));
    json_t *add = own(json_array()), *remove = field(fields, "remove");
    remove = remove != NULL ? remove : own(json_array());
    size_t index;
    json_t *item;
    json_array_foreach(remove, index, item) {
        json_object_del(members, json_string_value(item));
    }
    json_array_foreach(field(fields, "add"), index, item) {
        json_array_append(add, field(item, "device"));
        put(members, text_in(item, "device"));
    }
    json_t *made =
        pack("[O]", claimed(packet(device, "change", id, to_group(id), write_change(add, remove), false), claim));
    if (json_array_size(add) > 0) {
        struct bytes invitation = write_invitation(sorted(members));
        json_array_append(made, claimed(packet(device, "welcome", id, to_devices(add), invitation, false), claim));
    }
    return packets(made);
}

json_t *forge(void *argument, const char *forgery, json_t *fields) {
    struct device *device = argument;
    if (strcmp(forgery, "broken_bundle") == 0) {
        return break_bundle(field(fields, "bundle"));
    }
    if (strcmp(forgery, "rewritten_identity") == 0) {
        return rewrite_identity(device, field(fields, "packet"));
    }
    const char *id = text_in(field(fields, "group"), "id"), *claim = text_in(fields, "claim");
    if (strcmp(forgery, "message") == 0) {
        forged_key(device, id);
        return packets(pack("[O]", forged_message(device, id, claim, bytes_in(fields, "plaintext"))));
    }
    return strcmp(forgery, "change") == 0 ? forge_change(device, id, claim, fields)
                                          : forge_key_distribution(device, id, claim, fields);
}

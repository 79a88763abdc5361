/* One group as one device sees it: the roster, and who holds this device's present sender key. As in adapters/sender-keys
 * (src/group.rs): which members are still owed the key and which holders have left is kept, not computed.
 *
 *   roster, holders, owed, stale   sets; owed holds members with a new session too, stale are holders who have left
 *   key       "none" (the next send makes one, and nobody is asked), "in_use", or "half_replaced"
 *   pending   this device's own change that the server has not delivered back: its bytes and whether it refreshes
 *   outbox    which message went to which account key: what a decision to re-send needs */
#include <stdlib.h>
#include <string.h>

#include "device.h"

bool has(const json_t *set, const char *name) {
    return json_object_get(set, name) != NULL;
}

void put(json_t *set, const char *name) {
    json_object_set(set, name, json_true());
}

json_t *set_of(const json_t *list) {
    json_t *set = own(json_object());
    size_t index;
    json_t *item;
    json_array_foreach(list, index, item) {
        put(set, json_string_value(item));
    }
    return set;
}

/* By user and then device, as strings are. */
static int in_order(const void *one, const void *other) {
    const char *a = *(const char *const *)one, *b = *(const char *const *)other;
    size_t user_a = strcspn(a, "/"), user_b = strcspn(b, "/");
    int users = memcmp(a, b, user_a < user_b ? user_a : user_b);
    if (users == 0) {
        users = (user_a > user_b) - (user_a < user_b);
    }
    return users != 0 ? users : strcmp(a + user_a, b + user_b);
}

json_t *sorted(const json_t *set) {
    size_t count = json_object_size(set), at = 0;
    const char **names = room(count * sizeof *names);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)set, name, value) {
        names[at++] = name;
    }
    qsort(names, count, sizeof *names, in_order);
    json_t *list = own(json_array());
    for (at = 0; at < count; at++) {
        json_array_append(list, own(json_string(names[at])));
    }
    return list;
}

json_t *new_group(const struct device *device, json_t *members) {
    json_t *group = pack("{s:{}, s:{}, s:{}, s:{}, s:s, s:{s:i, s:{}, s:{}}}", "roster", "holders", "owed", "stale", "key",
                         "none", "outbox", "count", 0, "messages", "given");
    const char *member;
    json_t *value;
    json_object_foreach(members, member, value) {
        join_group(device, group, member);
    }
    return group;
}

bool is_member(const json_t *group, const char *device) {
    return has(field(group, "roster"), device);
}

bool has_device_of(const json_t *group, const char *device) {
    size_t user = strcspn(device, "/") + 1;
    const char *member;
    json_t *value;
    json_object_foreach(field(group, "roster"), member, value) {
        if (strncmp(member, device, user) == 0) {
            return true;
        }
    }
    return false;
}

/* Takes a device into the roster; false if it was in. Even one that has been here before is owed the sender key: it may
 * have been reinstalled since. */
bool join_group(const struct device *device, json_t *group, const char *member) {
    if (is_member(group, member)) {
        return false;
    }
    put(field(group, "roster"), member);
    if (strcmp(member, device->id) != 0) {
        json_object_del(field(group, "stale"), member);
        put(field(group, "owed"), member);
    }
    return true;
}

/* Takes a device out of the roster; false if it was not in. */
bool leave_group(json_t *group, const char *member) {
    if (!is_member(group, member)) {
        return false;
    }
    json_object_del(field(group, "roster"), member);
    json_object_del(field(group, "owed"), member);
    if (has(field(group, "holders"), member)) {
        put(field(group, "stale"), member);
    }
    return true;
}

/* The pairwise session with this device is a new one: what was sent through the old one may never have been read. */
void session_replaced(const struct device *device, const char *peer) {
    const char *id;
    json_t *group;
    json_object_foreach(field(device->state, "groups"), id, group) {
        if (is_member(group, peer) && strcmp(peer, device->id) != 0) {
            put(field(group, "owed"), peer);
        }
    }
}

static void set_key(json_t *group, const char *key) {
    json_object_set(group, "key", own(json_string(key)));
}

static bool key_is(const json_t *group, const char *key) {
    return strcmp(text_in(group, "key"), key) == 0;
}

/* Whether the next send needs a new sender key whatever anybody decides. */
bool needs_key(const json_t *group) {
    return !key_is(group, "in_use");
}

/* The present sender key is not to be used again. */
void retire_key(json_t *group) {
    set_key(group, "none");
    json_object_clear(field(group, "holders"));
    json_object_clear(field(group, "stale"));
}

/* The present sender key is about to be replaced. */
void replace_key(json_t *group) {
    if (key_is(group, "in_use")) {
        set_key(group, "half_replaced");
    }
}

json_t *everybody_else(const struct device *device, const json_t *group) {
    json_t *others = own(json_copy(field(group, "roster")));
    json_object_del(others, device->id);
    return others;
}

/* Every sender key that has been in use, as it was first handed out, the present one last. Kept to be shared with
 * newcomers, as an application keeps its users' messages; not part of an exported state, or no protocol would have forward
 * secrecy. */
json_t *archive_of(const struct device *device, const char *group) {
    json_t *archive = field(device->rest, "archive");
    json_t *keys = field(archive, group);
    if (keys == NULL) {
        keys = own(json_array());
        json_object_set(archive, group, keys);
    }
    return keys;
}

/* A new sender key is in use, and nobody holds it; `first` is what there is to hand out of it. */
void key_made(struct device *device, const char *id, json_t *group, struct bytes first) {
    retire_key(group);
    set_key(group, "in_use");
    json_array_append(archive_of(device, id), own(json_string(hex(first))));
    json_object_set(group, "owed", everybody_else(device, group));
}

static json_int_t count_of(const json_t *outbox) {
    return json_integer_value(field(outbox, "count"));
}

/* The present sender key has gone to this device, encrypted to a session with this account key. */
void key_given(json_t *group, const char *member, const char *account_key) {
    put(field(group, "holders"), member);
    json_object_del(field(group, "owed"), member);
    if (!is_member(group, member)) {
        put(field(group, "stale"), member);
    }
    json_t *outbox = field(group, "outbox");
    json_t *given = field(field(outbox, "given"), member);
    if (given == NULL) {
        given = own(json_array());
        json_object_set(field(outbox, "given"), member, given);
    }
    json_t *last = json_array_get(given, json_array_size(given) - 1);
    if (last == NULL || strcmp(text_in(last, "account_key"), account_key) != 0) {
        json_array_append(given, pack("{s:I, s:s}", "first", count_of(outbox), "account_key", account_key));
    }
}

/* A message's fingerprint: who copies the state is not to read what was sent. */
static const char *fingerprint_of(struct bytes plaintext) {
    OlmUtility *utility = olm_utility(room(olm_utility_size()));
    size_t length = olm_sha256_length(utility);
    char *text = room(length + 1);
    olm_sha256(utility, plaintext.at, plaintext.length, text, length);
    return text;
}

/* A message has gone to everybody who holds the present sender key. */
void message_sent(json_t *group, struct bytes plaintext) {
    json_t *outbox = field(group, "outbox");
    json_t *messages = field(outbox, "messages");
    const char *name = fingerprint_of(plaintext);
    if (field(messages, name) == NULL) {
        json_object_set(messages, name, own(json_integer(count_of(outbox))));
    }
    json_object_set(outbox, "count", own(json_integer(count_of(outbox) + 1)));
}

/* The account key to which this message first went at this device; "" if it went to none. A plaintext that was never sent
 * as such is taken for the last one. */
const char *original_key(const json_t *group, const char *member, struct bytes plaintext) {
    json_t *outbox = field(group, "outbox");
    json_t *message = field(field(outbox, "messages"), fingerprint_of(plaintext));
    json_int_t number = message != NULL ? json_integer_value(message) : count_of(outbox);
    json_t *given = field(field(outbox, "given"), member);
    for (size_t i = json_array_size(given); i > 0; i--) {
        json_t *entry = json_array_get(given, i - 1);
        if (json_integer_value(field(entry, "first")) <= number) {
            return text_in(entry, "account_key");
        }
    }
    return "";
}

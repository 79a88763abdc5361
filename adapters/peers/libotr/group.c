/* Groups of at most two, because OTR is for two. Membership is the server's word, in plain JSON as in adapters/sender-keys;
 * every question about it is asked here, at points named after the functions of this file. */
#include <string.h>

#include "device.h"

static const struct shape CHANGE[] = {
    {.name = "add", .kind = DEVICE, .list = true}, {.name = "remove", .kind = DEVICE, .list = true}, {0}};
static const struct shape INVITATION[] = {{.name = "members", .kind = DEVICE, .list = true}, {0}};

enum { MOST_MEMBERS = 2 };

static void ask(struct device *device, const char *point, json_t *fact) {
    require(device->notebook, point, GROUP_MANAGEMENT, fact);
}

static json_t *find_group(const struct device *device, const char *id) {
    return field(device->groups, id);
}

static json_t *known_group(const struct device *device, const char *id) {
    json_t *group = find_group(device, id);
    if (group == NULL) {
        refuse(BAD_REQUEST, "no group %s", id);
    }
    return group;
}

static bool has(const json_t *set, const char *name) {
    return json_object_get(set, name) != NULL;
}

static bool is_member(const json_t *group, const char *device) {
    return has(field(group, "roster"), device);
}

/* The member that is not this device; NULL if there is none. */
static const char *other_member(const struct device *device, const json_t *group) {
    const char *member;
    json_t *value;
    json_object_foreach(field(group, "roster"), member, value) {
        if (strcmp(member, device->id) != 0) {
            return member;
        }
    }
    return NULL;
}

static json_t *packet(
    const struct device *device, const char *kind, const char *group, json_t *to, const char *text, bool opens_session) {
    return pack("{s:s, s:s, s:s, s:O, s:b, s:s}", "kind", kind, "group", group, "from", device->id, "to", to,
                "opens_session", opens_session, "bytes", hex(bytes_of(text)));
}

static json_t *json_packet(const struct device *device, const char *kind, const char *group, json_t *to, json_t *body) {
    return packet(device, kind, group, to, (const char *)write_json(body).at, false);
}

static json_t *to_group(const char *group) {
    return pack("{s:s}", "group", group);
}

static json_t *to_device(const char *device) {
    return pack("{s:s}", "device", device);
}

static json_t *packets(json_t *list) {
    return pack("{s:O}", "packets", list);
}

/* Membership. */

static void too_many(size_t members) {
    if (members > MOST_MEMBERS) {
        refuse(REFUSED, "OTR is for two: a conversation has no room for a third");
    }
}

json_t *create_group(struct device *device, const char *id) {
    if (find_group(device, id) != NULL) {
        refuse(DUPLICATE, "there is a group %s already", id);
    }
    json_object_set(device->groups, id, pack("{s:{s:b}}", "roster", device->id, 1));
    return NULL;
}

/* The roster after a change. */
static json_t *changed(const json_t *roster, const json_t *add, const json_t *remove) {
    json_t *members = own(json_copy((json_t *)(uintptr_t)roster));
    size_t index;
    json_t *item;
    json_array_foreach(remove, index, item) {
        json_object_del(members, json_string_value(item));
    }
    json_array_foreach(add, index, item) {
        json_object_set(members, json_string_value(item), json_true());
    }
    return members;
}

static json_t *names_in(const json_t *set) {
    json_t *names = own(json_array());
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)set, name, value) {
        json_array_append(names, own(json_string(name)));
    }
    return names;
}

/* As strings are, by user and then device. There are two at most. */
static json_t *sorted(const json_t *set) {
    json_t *names = names_in(set);
    if (json_array_size(names) == 2) {
        const char *one = json_string_value(json_array_get(names, 0)), *two = json_string_value(json_array_get(names, 1));
        size_t user_one = strcspn(one, "/"), user_two = strcspn(two, "/");
        int order = memcmp(one, two, user_one < user_two ? user_one : user_two);
        order = order != 0 ? order : (user_one > user_two) - (user_one < user_two);
        order = order != 0 ? order : strcmp(one + user_one, two + user_two);
        if (order > 0) {
            json_array_append(names, json_array_get(names, 0));
            json_array_remove(names, 0);
        }
    }
    return names;
}

json_t *change(struct device *device, const char *id, json_t *asked) {
    json_t *group = known_group(device, id);
    if (!is_member(group, device->id)) {
        refuse(NOT_MEMBER, "%s is not a member of %s", device->id, id);
    }
    json_t *remove = field(asked, "remove"), *gone = own(json_object()), *add = own(json_array());
    remove = remove != NULL ? remove : own(json_array());
    size_t index;
    json_t *item;
    json_array_foreach(remove, index, item) {
        const char *member = json_string_value(item);
        if (!is_member(group, member) || has(gone, member)) {
            refuse(NOT_MEMBER, "%s is not a member of %s", member, id);
        }
        json_object_set(gone, member, json_true());
    }
    json_t *members = changed(field(group, "roster"), NULL, remove);
    json_array_foreach(field(asked, "add"), index, item) {
        const char *member = text_in(item, "device");
        if (has(members, member)) {
            refuse(DUPLICATE, "%s is a member of %s already", member, id);
        }
        json_object_set(members, member, json_true());
        json_array_append(add, field(item, "device"));
    }
    too_many(json_object_size(members));
    if (json_array_size(add) == 0 && json_array_size(remove) == 0) {
        return NULL; /* keys are replaced in every round, whether asked for or not */
    }
    json_t *body = pack("{s:O, s:O}", "add", add, "remove", remove);
    json_t *made = pack("[O]", json_packet(device, "change", id, to_group(id), body));
    if (field(group, "pending") != NULL) {
        note(device->notebook, pack("{s:s, s:s}", "event", "change_dropped", "group", id));
    }
    json_object_set(group, "pending", field(json_array_get(made, 0), "bytes"));
    json_array_foreach(add, index, item) {
        json_t *invitation = pack("{s:O}", "members", sorted(members));
        json_array_append(made, json_packet(device, "welcome", id, to_device(json_string_value(item)), invitation));
    }
    return packets(made);
}

static json_t *membership_fact(const char *fact, const char *id, const char *member, const char *by) {
    return pack("{s:s, s:s, s:s, s:s, s:b}", "fact", fact, "group", id, "device", member, "by", by, "authenticated", 0);
}

static void tell_member(struct device *device, const char *event, const char *id, const char *member, const char *by) {
    note(device->notebook, pack("{s:s, s:s, s:s, s:s}", "event", event, "group", id, "device", member, "by", by));
}

static json_t *receive_change(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *by = text_in(packet, "from");
    json_t *told = read_json(bytes_in(packet, "bytes"), CHANGE, "change");
    json_t *group = known_group(device, id);
    json_t *roster = field(group, "roster"), *add = field(told, "add"), *remove = field(told, "remove");
    json_t *members = changed(roster, add, remove);
    too_many(json_object_size(members));
    json_t *pending = field(group, "pending");
    bool mine = pending != NULL && strcmp(by, device->id) == 0 && json_equal(pending, field(packet, "bytes"));
    size_t index;
    json_t *item;
    if (!mine) {
        json_array_foreach(remove, index, item) {
            ask(device, "receive_change", membership_fact("remove", id, json_string_value(item), by));
        }
        json_array_foreach(add, index, item) {
            ask(device, "receive_change", membership_fact("add", id, json_string_value(item), by));
        }
        if (pending != NULL) {
            note(device->notebook, pack("{s:s, s:s}", "event", "change_dropped", "group", id));
        }
    }
    json_object_del(group, "pending");
    json_array_foreach(remove, index, item) {
        if (has(roster, json_string_value(item))) {
            tell_member(device, "member_removed", id, json_string_value(item), by);
        }
    }
    json_array_foreach(add, index, item) {
        if (!has(roster, json_string_value(item))) {
            tell_member(device, "member_added", id, json_string_value(item), by);
        }
    }
    json_object_set(group, "roster", members);
    return NULL;
}

static json_t *receive_welcome(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *by = text_in(packet, "from");
    json_t *told = read_json(bytes_in(packet, "bytes"), INVITATION, "welcome");
    json_t *members = changed(own(json_object()), field(told, "members"), NULL);
    if (!has(members, device->id)) {
        refuse(BAD_REQUEST, "a welcome to %s that leaves out %s", id, device->id);
    }
    too_many(json_object_size(members));
    ask(device, "receive_welcome", membership_fact("add", id, device->id, by));
    json_object_set(device->groups, id, pack("{s:O}", "roster", members));
    note(device->notebook, pack("{s:s, s:s}", "event", "joined", "group", id));
    return NULL;
}

/* The server's word that a user has one more device: there is room for it only where its user is alone with this device
 * and the place is free, which is never. */
static json_t *receive_device_list(struct device *device, json_t *packet) {
    json_t *bundle = read_json(bytes_in(packet, "bytes"), BUNDLE, "bundle in a device list");
    const char *listed = text_in(bundle, "device"), *id;
    json_t *group;
    ask(device, "receive_device_list", pack("{s:s, s:s}", "fact", "listed_device", "device", listed));
    json_object_foreach(device->groups, id, group) {
        json_t *roster = field(group, "roster");
        const char *member;
        json_t *value;
        json_object_foreach(roster, member, value) {
            if (strncmp(member, listed, strcspn(listed, "/") + 1) == 0 && !has(roster, listed)) {
                too_many(json_object_size(roster) + 1);
                json_object_set(roster, listed, json_true());
                tell_member(device, "member_added", id, listed, listed);
                break;
            }
        }
    }
    return NULL;
}

json_t *roster(struct device *device, const char *id) {
    return pack("{s:O, s:b}", "members", sorted(field(known_group(device, id), "roster")), "authenticated", 0);
}

/* What is written and read. */

/* What libotr wants to go to `peer`. The messages of its handshake are for one device; a message goes to the group. */
static json_t *sent(struct device *device, const char *id, const char *peer, json_t *injected) {
    json_t *made = own(json_array());
    size_t index;
    json_t *item;
    json_array_foreach(injected, index, item) {
        const char *text = json_string_value(item);
        OtrlMessageType type = otrl_proto_message_type(text);
        if (type == OTRL_MSGTYPE_DATA) {
            json_t *written = field(device->written, peer);
            const char *where = written != NULL ? json_string_value(written) : id;
            json_array_append(made, packet(device, "message", where, to_group(where), text, false));
        } else {
            /* The two that carry a signature are those that open a conversation where they arrive. */
            bool opens = type == OTRL_MSGTYPE_REVEALSIG || type == OTRL_MSGTYPE_SIGNATURE;
            json_array_append(made, packet(device, "key_distribution", id, to_device(peer), text, opens));
        }
    }
    return made;
}

/* A packet's bytes as libotr takes them: text that ends with a zero. */
static const char *text_of(json_t *packet) {
    struct bytes bytes = bytes_in(packet, "bytes");
    char *text = room(bytes.length + 1);
    memcpy(text, bytes.at, bytes.length);
    if (strlen(text) != bytes.length) {
        refuse(BAD_REQUEST, "a message with a zero in it");
    }
    return text;
}

static json_t *receive_text(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *from = text_in(packet, "from");
    if (!is_member(known_group(device, id), from)) {
        ask(device, "receive_text", pack("{s:s, s:s, s:s}", "fact", "non_member_sender", "group", id, "device", from));
    }
    json_t *heard = hear(device, from, text_of(packet));
    json_t *output = packets(sent(device, id, from, field(heard, "injected")));
    if (field(heard, "plaintext") != NULL) {
        const char *plaintext = hex(bytes_of(text_in(heard, "plaintext")));
        json_object_set(
            output, "message", pack("{s:s, s:s, s:s}", "group", id, "sender", from, "plaintext", plaintext));
    }
    return output;
}

json_t *receive(struct device *device, json_t *packet) {
    static const struct {
        const char *kind;
        json_t *(*take)(struct device *, json_t *);
    } KINDS[] = {
        {"change", receive_change},
        {"welcome", receive_welcome},
        {"message", receive_text},
        {"key_distribution", receive_text},
        {"device_list", receive_device_list},
    };
    const char *kind = text_in(packet, "kind");
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(KINDS[i].kind, kind) == 0) {
            return KINDS[i].take(device, packet);
        }
    }
    refuse(BAD_REQUEST, "there is no %s in this protocol", kind);
}

json_t *wants(struct device *device, const char *id) {
    json_t *group = known_group(device, id);
    const char *peer = other_member(device, group);
    json_t *wanted = own(json_array());
    if (is_member(group, device->id) && peer != NULL && !in_private(device, peer)) {
        json_array_append(wanted, own(json_string(peer)));
    }
    return wanted;
}

/* Nothing is learnt from a bundle, and so nothing is asked: whose keys they are shows when the peer has answered. */
json_t *introduce(struct device *device, json_t *bundle) {
    const char *peer = text_in(bundle, "device"), *id;
    json_t *group;
    if (strcmp(peer, device->id) == 0) {
        refuse(BAD_REQUEST, "a bundle of this very device");
    }
    json_object_foreach(device->groups, id, group) {
        if (is_member(group, peer)) {
            return packets(sent(device, id, peer, pack("[s]", query(device))));
        }
    }
    refuse(BAD_REQUEST, "there is no group with %s", peer);
}

json_t *send_message(struct device *device, const char *id, const char *text) {
    json_t *group = known_group(device, id);
    if (!is_member(group, device->id)) {
        refuse(NOT_MEMBER, "%s is not a member of %s", device->id, id);
    }
    const char *peer = other_member(device, group);
    if (peer == NULL) {
        return NULL;
    }
    json_t *injected = own(json_array());
    settle(device, peer, injected);
    json_t *made = sent(device, id, peer, injected);
    json_t *message = packet(device, "message", id, to_group(id), converse(device, peer, text), false);
    json_object_set(device->written, peer, own(json_string(id)));
    if (device->relabel != NULL) {
        json_object_set(message, "from", own(json_string(device->relabel)));
    }
    json_array_append(made, message);
    return packets(made);
}

json_t *fingerprint(struct device *device, const char *id, const char *peer) {
    known_group(device, id);
    const char *theirs = peer_fingerprint(device, peer), *mine = own_fingerprint(device);
    if (theirs == NULL) {
        refuse(BAD_REQUEST, "there is no conversation with %s", peer);
    }
    bool first = strcmp(mine, theirs) <= 0;
    return pack("{s:s, s:s}", "kind", "device_keys", "value",
                format("%s, %s", readable(first ? mine : theirs), readable(first ? theirs : mine)));
}

/* What an outsider crafts. */

/* Plain text: whoever holds no key can write that, and the network delivers it. */
json_t *forge_message(struct device *device, json_t *fields) {
    const char *id = text_in(field(fields, "group"), "id");
    struct bytes plaintext = bytes_in(fields, "plaintext");
    json_t *forged = packet(device, "message", id, to_group(id), "", false);
    json_object_set(forged, "bytes", own(json_string(hex(plaintext))));
    json_object_set(forged, "from", field(fields, "claim"));
    return packets(pack("[O]", forged));
}

json_t *forge_change(struct device *device, json_t *fields) {
    json_t *known = field(fields, "group"), *add = own(json_array()), *remove = field(fields, "remove");
    const char *id = text_in(known, "id");
    size_t index;
    json_t *item;
    json_array_foreach(field(fields, "add"), index, item) {
        json_array_append(add, field(item, "device"));
    }
    remove = remove != NULL ? remove : own(json_array());
    json_t *members = changed(own(json_object()), field(known, "members"), NULL);
    members = changed(members, add, remove);
    json_t *body = pack("{s:O, s:O}", "add", add, "remove", remove);
    json_t *made = pack("[O]", json_packet(device, "change", id, to_group(id), body));
    json_array_foreach(add, index, item) {
        json_t *invitation = pack("{s:O}", "members", names_in(members));
        json_array_append(made, json_packet(device, "welcome", id, to_device(json_string_value(item)), invitation));
    }
    json_array_foreach(made, index, item) {
        json_object_set(item, "from", field(fields, "claim"));
    }
    return packets(made);
}

/* The group management: libolm has no groups, so this is the application above it, and does what adapters/sender-keys does
 * for vodozemac. Membership is the server's word, nothing authenticates it, and every question about it is asked here.
 * Decision points are named after the functions of this file. */
#include <string.h>

#include "device.h"

static void ask(struct device *device, const char *point, json_t *fact) {
    require(device->notebook, point, GROUP_MANAGEMENT, fact);
}

static json_t *find_group(const struct device *device, const char *id) {
    return field(field(device->state, "groups"), id);
}

json_t *known_group(const struct device *device, const char *id) {
    json_t *group = find_group(device, id);
    if (group == NULL) {
        refuse(BAD_REQUEST, "no group %s", id);
    }
    return group;
}

static json_t *membership(const struct device *device, const char *id) {
    json_t *group = known_group(device, id);
    if (!is_member(group, device->id)) {
        refuse(NOT_MEMBER, "%s is not a member of %s", device->id, id);
    }
    return group;
}

/* Packets. */

json_t *to_group(const char *group) {
    return pack("{s:s}", "group", group);
}

json_t *to_device(const char *device) {
    return pack("{s:s}", "device", device);
}

json_t *to_devices(json_t *devices) {
    return json_array_size(devices) == 1 ? pack("{s:O}", "device", json_array_get(devices, 0))
                                         : pack("{s:O}", "devices", devices);
}

json_t *packet(
    const struct device *device, const char *kind, const char *group, json_t *to, struct bytes bytes, bool opens_session) {
    return pack("{s:s, s:s, s:s, s:O, s:b, s:s}", "kind", kind, "group", group, "from", device->id, "to", to,
                "opens_session", opens_session, "bytes", hex(bytes));
}

json_t *packets(json_t *list) {
    return pack("{s:O}", "packets", list);
}

json_t *seal(struct device *device, const char *kind, const char *group, const char *peer, struct bytes content) {
    bool opens_session;
    struct bytes sealed = encrypt_to(device, peer, content, &opens_session);
    return packet(device, kind, group, to_device(peer), sealed, opens_session);
}

void introduce_all(struct device *device, json_t *bundles) {
    size_t index;
    json_t *bundle;
    json_array_foreach(bundles, index, bundle) {
        const char *peer = text_in(bundle, "device");
        if (strcmp(peer, device->id) == 0) {
            refuse(BAD_REQUEST, "a bundle of this very device");
        }
        open_from_bundle(device, bundle);
        session_replaced(device, peer);
    }
}

static void introduce_one(struct device *device, json_t *bundle) {
    introduce_all(device, pack("[O]", bundle));
}

json_t *introduce(struct device *device, json_t *bundle) {
    introduce_one(device, bundle);
    return NULL;
}

/* Membership. */

json_t *create_group(struct device *device, const char *id) {
    if (find_group(device, id) != NULL) {
        refuse(DUPLICATE, "there is a group %s already", id);
    }
    json_object_set(field(device->state, "groups"), id, new_group(device, pack("{s:b}", device->id, 1)));
    return NULL;
}

static void tell_member(struct device *device, const char *event, const char *id, const char *member, const char *by) {
    note(device->notebook, pack("{s:s, s:s, s:s, s:s}", "event", event, "group", id, "device", member, "by", by));
}

static void added(struct device *device, const char *id, const char *member, const char *by) {
    if (join_group(device, known_group(device, id), member)) {
        tell_member(device, "member_added", id, member, by);
    }
}

static void removed(struct device *device, const char *id, const char *member, const char *by) {
    if (leave_group(known_group(device, id), member)) {
        tell_member(device, "member_removed", id, member, by);
    }
}

static void drop_pending(struct device *device, const char *id) {
    json_t *group = known_group(device, id);
    if (field(group, "pending") != NULL) {
        json_object_del(group, "pending");
        note(device->notebook, pack("{s:s, s:s}", "event", "change_dropped", "group", id));
    }
}

json_t *change(struct device *device, const char *id, json_t *asked) {
    json_t *group = membership(device, id);
    json_t *add = field(asked, "add"), *remove = field(asked, "remove");
    add = add != NULL ? add : own(json_array());
    remove = remove != NULL ? remove : own(json_array());
    bool refresh = json_is_true(field(asked, "refresh"));
    json_t *gone = own(json_object()), *members = own(json_copy(field(group, "roster"))), *names = own(json_array());
    size_t index;
    json_t *item;
    json_array_foreach(remove, index, item) {
        const char *member = json_string_value(item);
        if (!is_member(group, member) || has(gone, member)) {
            refuse(NOT_MEMBER, "%s is not a member of %s", member, id);
        }
        put(gone, member);
        json_object_del(members, member);
    }
    json_array_foreach(add, index, item) {
        const char *member = text_in(item, "device");
        if (has(members, member)) {
            refuse(DUPLICATE, "%s is a member of %s already", member, id);
        }
        put(members, member);
        json_array_append(names, field(item, "device"));
    }
    if (json_array_size(add) == 0 && json_array_size(remove) == 0) {
        if (refresh) {
            retire_key(group);
        }
        return NULL;
    }
    introduce_all(device, add);

    struct bytes bytes = write_change(names, remove);
    drop_pending(device, id);
    json_object_set(group, "pending", pack("{s:s, s:b}", "bytes", hex(bytes), "refresh", refresh));
    json_t *made = pack("[O]", packet(device, "change", id, to_group(id), bytes, false));
    if (json_array_size(names) > 0) {
        struct bytes invitation = write_invitation(sorted(members));
        json_array_append(made, packet(device, "welcome", id, to_devices(names), invitation, false));
    }
    return packets(made);
}

static json_t *membership_fact(const char *fact, const char *id, const char *member, const char *by) {
    return pack("{s:s, s:s, s:s, s:s, s:b}", "fact", fact, "group", id, "device", member, "by", by, "authenticated", 0);
}

static json_t *receive_change(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *by = text_in(packet, "from");
    json_t *told = read_change(bytes_in(packet, "bytes"));
    json_t *group = known_group(device, id);
    json_t *pending = field(group, "pending");
    size_t index;
    json_t *item;
    /* Another member may make the very same change: the label is part of what is recognised. */
    if (pending != NULL && strcmp(by, device->id) == 0 && json_equal(field(pending, "bytes"), field(packet, "bytes"))) {
        if (json_is_true(field(pending, "refresh"))) {
            retire_key(group);
        }
        json_object_del(group, "pending");
    } else {
        json_array_foreach(field(told, "remove"), index, item) {
            ask(device, "receive_change", membership_fact("remove", id, json_string_value(item), by));
        }
        json_array_foreach(field(told, "add"), index, item) {
            ask(device, "receive_change", membership_fact("add", id, json_string_value(item), by));
        }
        drop_pending(device, id);
    }
    json_array_foreach(field(told, "remove"), index, item) {
        removed(device, id, json_string_value(item), by);
    }
    json_array_foreach(field(told, "add"), index, item) {
        added(device, id, json_string_value(item), by);
    }
    return NULL;
}

static json_t *receive_welcome(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *by = text_in(packet, "from");
    json_t *members = read_invitation(bytes_in(packet, "bytes"));
    if (!has(members, device->id)) {
        refuse(BAD_REQUEST, "a welcome to %s that leaves out %s", id, device->id);
    }
    ask(device, "receive_welcome", membership_fact("add", id, device->id, by));
    json_t *group = find_group(device, id);
    if (group != NULL) {
        /* In again, or never out in its own view: the roster is the new one, the sender keys stay. */
        size_t index;
        json_t *item;
        json_array_foreach(sorted(field(group, "roster")), index, item) {
            if (!has(members, json_string_value(item))) {
                leave_group(group, json_string_value(item));
            }
        }
        json_array_foreach(sorted(members), index, item) {
            join_group(device, group, json_string_value(item));
        }
        drop_pending(device, id);
    } else {
        json_object_set(field(device->state, "groups"), id, new_group(device, members));
    }
    note(device->notebook, pack("{s:s, s:s}", "event", "joined", "group", id));
    return NULL;
}

static json_t *receive_device_list(struct device *device, json_t *packet) {
    json_t *bundle = read_json(bytes_in(packet, "bytes"), BUNDLE, "bundle in a device list");
    const char *listed = text_in(bundle, "device");
    ask(device, "receive_device_list", pack("{s:s, s:s}", "fact", "listed_device", "device", listed));
    introduce_one(device, bundle);
    const char *id;
    json_t *group;
    json_object_foreach(field(device->state, "groups"), id, group) {
        if (has_device_of(group, listed)) {
            added(device, id, listed, listed);
        }
    }
    return NULL;
}

json_t *roster(struct device *device, const char *id) {
    return pack("{s:O, s:b}", "members", sorted(field(known_group(device, id), "roster")), "authenticated", 0);
}

/* What is read. */

static void brought(struct device *device, const char *kind, const char *from, struct bytes bytes) {
    json_array_append(
        device->transcript, pack("{s:s, s:s, s:s}", "kind", kind, "from", from, "bytes", hex(bytes)));
}

/* Opens a pairwise packet. */
static enum content open_packet(struct device *device, json_t *packet, struct bytes *body) {
    const char *from = text_in(packet, "from"), *delivered = text_in(packet, "group"), *meant;
    bool opens_session = json_is_true(field(packet, "opens_session"));
    struct bytes sealed = bytes_in(packet, "bytes");
    json_t *known = json_incref(known_identity(device, from)); /* may be replaced */
    known = known != NULL ? own(known) : NULL;
    brought(device, opens_session ? "prekey_message" : "message", from, sealed);
    struct bytes plaintext = decrypt_from(device, from, sealed, opens_session);
    if (known != NULL && !json_equal(known, known_identity(device, from))) {
        session_replaced(device, from);
    }
    enum content content = read_content(plaintext, &meant, body);
    if (strcmp(meant, delivered) != 0) {
        refuse(BAD_REQUEST, "sent for %s, delivered for %s", meant, delivered);
    }
    return content;
}

static void sender_in_roster(struct device *device, json_t *packet, const char *point) {
    const char *id = text_in(packet, "group"), *from = text_in(packet, "from");
    if (!is_member(known_group(device, id), from)) {
        ask(device, point, pack("{s:s, s:s, s:s}", "fact", "non_member_sender", "group", id, "device", from));
    }
}

static json_t *receive_message(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *sender = text_in(packet, "from");
    json_t *to = field(packet, "to");
    struct bytes plaintext;
    sender_in_roster(device, packet, "receive_message");
    if (field(to, "group") != NULL) {
        ask(device, "receive_message", pack("{s:s, s:s, s:s}", "fact", "recipients", "group", id, "sender", sender));
        struct bytes envelope = bytes_in(packet, "bytes");
        brought(device, "megolm_message", sender, envelope);
        plaintext = decrypt_in(device, id, sender, envelope);
    } else if (field(to, "device") != NULL) {
        if (open_packet(device, packet, &plaintext) != MESSAGE) {
            refuse(BAD_REQUEST, "a sender key, delivered as a message");
        }
    } else {
        refuse(BAD_REQUEST, "a message to neither a group nor a device");
    }
    return pack("{s:{s:s, s:s, s:s}}", "message", "group", id, "sender", sender, "plaintext", hex(plaintext));
}

static void key_accepted(struct device *device, const char *id, const char *owner) {
    note(device->notebook, pack("{s:s, s:s, s:s}", "event", "key_accepted", "group", id, "owner", owner));
}

static json_t *receive_key_distribution(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *from = text_in(packet, "from");
    struct bytes body;
    sender_in_roster(device, packet, "receive_key_distribution");
    size_t index;
    json_t *key;
    switch (open_packet(device, packet, &body)) {
    case SENDER_KEY:
        brought(device, "session_key", from, body);
        take_session(device, id, from, inbound_from_key(body));
        key_accepted(device, id, from);
        return NULL;
    case HANDED_ON:
        json_array_foreach(read_handed_on(body), index, key) {
            import_session(device, id, from, text_in(key, "owner"), bytes_in(key, "key"));
            key_accepted(device, id, text_in(key, "owner"));
        }
        return NULL;
    default:
        refuse(BAD_REQUEST, "a message, delivered as a sender key");
    }
}

/* Encrypts to `to` the keys of what was sent before: one's own as they were first handed out, and those of others. The
 * present sender key is among them if it is in the archive. */
static json_t *hand_over(struct device *device, const char *id, const char *to) {
    json_t *group = known_group(device, id);
    json_t *archive = archive_of(device, id);
    json_t *made = own(json_array());
    size_t index;
    json_t *key;
    json_array_foreach(archive, index, key) {
        struct bytes content = write_content(SENDER_KEY, id, unhex(json_string_value(key)));
        json_array_append(made, seal(device, "key_distribution", id, to, content));
    }
    json_t *keys = export_sessions(device, id);
    if (json_array_size(keys) > 0) {
        json_array_append(made, seal(device, "key_distribution", id, to, write_handed_on(id, keys)));
    }
    if (json_array_size(made) == 0) {
        refuse(NO_KEY, "there are no keys of %s to hand over", id);
    }
    if (!needs_key(group) && json_array_size(archive) > 0) {
        key_given(group, to, text_in(known_identity(device, to), "account_key"));
    }
    note(device->notebook, pack("{s:s, s:s, s:s}", "event", "history_shared", "group", id, "device", to));
    return packets(made);
}

static json_t *receive_key_request(struct device *device, json_t *packet) {
    const char *id = text_in(packet, "group"), *from = text_in(packet, "from");
    known_group(device, id);
    ask(device, "receive_key_request", pack("{s:s, s:s, s:s}", "fact", "key_request", "group", id, "device", from));
    introduce_one(device, pack("{s:s, s:O}", "device", from, "bytes", field(packet, "bytes")));
    return hand_over(device, id, from);
}

json_t *receive(struct device *device, json_t *packet) {
    static const struct {
        const char *kind;
        json_t *(*take)(struct device *, json_t *);
    } KINDS[] = {
        {"change", receive_change},
        {"welcome", receive_welcome},
        {"message", receive_message},
        {"key_distribution", receive_key_distribution},
        {"key_request", receive_key_request},
        {"device_list", receive_device_list},
    };
    json_array_clear(device->transcript);
    const char *kind = text_in(packet, "kind");
    for (size_t i = 0; i < sizeof KINDS / sizeof *KINDS; i++) {
        if (strcmp(KINDS[i].kind, kind) == 0) {
            return KINDS[i].take(device, packet);
        }
    }
    refuse(BAD_REQUEST, "there are no proposals in this protocol");
}

/* As a recorded vector has it: libolm's own bytes, and the name under which Olm knows the sender. */
json_t *transcript(struct device *device) {
    json_t *deliveries = own(json_array());
    size_t index;
    json_t *entry;
    json_array_foreach(device->transcript, index, entry) {
        const char *kind = text_in(entry, "kind");
        struct bytes bytes = bytes_in(entry, "bytes");
        json_t *delivery = pack("{s:s}", "kind", kind);
        if (strcmp(kind, "prekey_message") == 0 || strcmp(kind, "message") == 0) {
            json_t *known = known_identity(device, text_in(entry, "from"));
            if (known != NULL) {
                struct bytes key = {bytes_in(known, "device_key").at, KEY_LENGTH};
                json_object_set(delivery, "from", own(json_string(hex(key))));
            }
            if (kind[0] == 'p') {
                split_identity(bytes, &bytes);
            }
        } else if (strcmp(kind, "megolm_message") == 0) {
            bytes = megolm_message_in(bytes);
        }
        json_object_set(delivery, "bytes", own(json_string(hex(bytes))));
        json_array_append(deliveries, delivery);
    }
    return deliveries;
}

/* What is sent. */

json_t *wants(struct device *device, const char *id) {
    json_t *group = known_group(device, id);
    json_t *wanted = own(json_array());
    size_t index;
    json_t *item;
    json_array_foreach(sorted(field(group, "owed")), index, item) {
        if (is_member(group, device->id) && !has_session(device, json_string_value(item))) {
            json_array_append(wanted, item);
        }
    }
    return wanted;
}

json_t *send_message(struct device *device, const char *id, struct bytes plaintext) {
    json_t *group = membership(device, id);
    bool fresh = needs_key(group);
    size_t index;
    json_t *item;
    json_array_foreach(sorted(field(group, "stale")), index, item) {
        json_t *fact = pack("{s:s, s:s, s:O}", "fact", "stale_key", "group", id, "device", item);
        fresh |= !consult(device->notebook, "send", GROUP_MANAGEMENT, fact);
    }
    json_t *owed = sorted(fresh ? everybody_else(device, group) : field(group, "owed"));
    if (fresh) {
        replace_key(group);
        renew_session(device, id);
    }
    struct bytes key = session_key(device, id);
    struct bytes content = write_content(SENDER_KEY, id, key);
    json_t *made = own(json_array()), *given = own(json_array()), *skipped = own(json_array());
    json_array_foreach(owed, index, item) {
        const char *peer = json_string_value(item);
        if (!has_session(device, peer)) {
            json_array_append(skipped, item);
            continue;
        }
        json_array_append(made, seal(device, "key_distribution", id, peer, content));
        json_array_append(given, item);
    }
    json_t *message = packet(device, "message", id, to_group(id), encrypt_in(device, id, plaintext), false);
    /* Megolm has no sender inside: the label is all there is to bend. */
    json_t *relabel = field(device->rest, "relabel");
    if (relabel != NULL) {
        json_object_set(message, "from", relabel);
    }
    json_array_append(made, message);

    if (fresh) {
        key_made(device, id, group, key);
    }
    json_array_foreach(given, index, item) {
        const char *peer = json_string_value(item);
        key_given(group, peer, text_in(known_identity(device, peer), "account_key"));
    }
    message_sent(group, plaintext);
    json_array_foreach(skipped, index, item) {
        note(device->notebook, pack("{s:s, s:s, s:O}", "event", "skipped", "group", id, "device", item));
    }
    return packets(made);
}

json_t *resend(struct device *device, const char *id, struct bytes plaintext, json_t *bundle, bool acknowledged) {
    const char *peer = text_in(bundle, "device");
    const char *original = original_key(membership(device, id), peer, plaintext);
    const char *account_key = text_in(read_bundle(bundle).identity, "account_key");
    ask(device, "resend",
        pack("{s:s, s:s, s:s, s:s, s:b}", "fact", "resend", "device", peer, "account_key", account_key, "original", original,
             "acknowledged", acknowledged));
    introduce_one(device, bundle);
    return packets(pack("[O]", seal(device, "message", id, peer, write_content(MESSAGE, id, plaintext))));
}

json_t *share_history(struct device *device, const char *id, const char *to) {
    known_group(device, id);
    ask(device, "share_history", pack("{s:s, s:s, s:s}", "fact", "history", "group", id, "device", to));
    return hand_over(device, id, to);
}

json_t *request_keys(struct device *device, const char *id, const char *holder) {
    known_group(device, id);
    struct bytes bundle = bytes_in(publish(device), "bytes");
    return packets(pack("[O]", packet(device, "key_request", id, to_device(holder), bundle, false)));
}

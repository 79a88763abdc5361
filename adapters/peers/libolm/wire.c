/* What travels besides libolm's own bytes: two plain JSON bodies that nothing authenticates, and the framing inside
 * pairwise ciphertexts. As in adapters/sender-keys (src/wire.rs). */
#include <string.h>

#include "device.h"

static struct bytes with_length(struct bytes content) {
    unsigned char *length = room(4);
    for (int i = 0; i < 4; i++) {
        length[i] = (unsigned char)(content.length >> (24 - 8 * i));
    }
    return join((struct bytes[]){{length, 4}, content}, 2);
}

/* The tag, the group, so that the server cannot hand it to another, and the body. */
struct bytes write_content(enum content content, const char *group, struct bytes body) {
    unsigned char *tag = room(1);
    *tag = (unsigned char)content;
    return join((struct bytes[]){{tag, 1}, with_length(bytes_of(group)), body}, 3);
}

struct bytes write_handed_on(const char *group, const json_t *keys) {
    struct bytes body = {room(0), 0};
    size_t index;
    json_t *key;
    json_array_foreach(keys, index, key) {
        body = join(
            (struct bytes[]){
                body, with_length(bytes_of(text_in(key, "owner"))), with_length(bytes_in(key, "key"))},
            3);
    }
    return write_content(HANDED_ON, group, body);
}

static struct bytes take_part(struct bytes *rest) {
    if (rest->length < 4) {
        refuse(BAD_REQUEST, "malformed pairwise content: truncated");
    }
    size_t length = 0;
    for (int i = 0; i < 4; i++) {
        length = length << 8 | rest->at[i];
    }
    if (length > rest->length - 4) {
        refuse(BAD_REQUEST, "malformed pairwise content: truncated");
    }
    struct bytes part = {rest->at + 4, length};
    *rest = (struct bytes){part.at + length, rest->length - 4 - length};
    return part;
}

static const char *take_text(struct bytes *rest) {
    struct bytes part = take_part(rest);
    json_t *text = json_stringn((const char *)part.at, part.length);
    if (text == NULL || strlen(json_string_value(own(text))) != part.length) {
        refuse(BAD_REQUEST, "malformed pairwise content: not text");
    }
    return json_string_value(text);
}

enum content read_content(struct bytes plaintext, const char **group, struct bytes *body) {
    if (plaintext.length == 0) {
        refuse(BAD_REQUEST, "malformed pairwise content: empty");
    }
    unsigned tag = plaintext.at[0];
    *body = (struct bytes){plaintext.at + 1, plaintext.length - 1};
    *group = take_text(body);
    if (tag > HANDED_ON) {
        refuse(BAD_REQUEST, "malformed pairwise content: unknown kind %u", tag);
    }
    return (enum content)tag;
}

json_t *read_handed_on(struct bytes body) {
    static const struct shape OWNER[] = {{.name = "owner", .kind = DEVICE}, {.name = "key", .kind = BYTES}, {0}};
    json_t *keys = own(json_array());
    while (body.length > 0) {
        const char *owner = take_text(&body);
        json_t *key = pack("{s:s, s:s}", "owner", owner, "key", hex(take_part(&body)));
        check(key, OWNER, "malformed pairwise content");
        json_array_append(keys, key);
    }
    return keys;
}

struct bytes write_change(json_t *add, json_t *remove) {
    return write_json(pack("{s:O, s:O}", "add", add, "remove", remove));
}

json_t *read_change(struct bytes bytes) {
    static const struct shape CHANGE[] = {
        {.name = "add", .kind = DEVICE, .list = true}, {.name = "remove", .kind = DEVICE, .list = true}, {0}};
    return read_json(bytes, CHANGE, "change");
}

struct bytes write_invitation(json_t *members) {
    return write_json(pack("{s:O}", "members", members));
}

json_t *read_invitation(struct bytes bytes) {
    static const struct shape INVITATION[] = {{.name = "members", .kind = DEVICE, .list = true}, {0}};
    return set_of(field(read_json(bytes, INVITATION, "welcome"), "members"));
}

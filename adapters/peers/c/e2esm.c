#include "e2esm.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const int VERSION = 1;

static const char *const CLASSES[] = {
    [AUTH_FAILED] = "auth_failed",
    [BAD_REQUEST] = "bad_request",
    [DUPLICATE] = "duplicate",
    [INTERNAL] = "internal",
    [NO_KEY] = "no_key",
    [NOT_MEMBER] = "not_member",
    [REFUSED] = "refused",
    [STALE_EPOCH] = "stale_epoch",
    [UNDECIDED] = "undecided_trust",
    [UNSUPPORTED] = "unsupported",
    [UNTRUSTED_IDENTITY] = "untrusted_identity",
};

static _Noreturn void give_up(const char *why) {
    fprintf(stderr, "%s\n", why);
    exit(70);
}

/* The request's pool. */

struct pooled {
    struct pooled *next;
    void *memory; /* or */
    json_t *value;
};

static struct pooled *pool;

/* Unused bytes before and after each piece of memory. */
enum { MARGIN = 32 };

static struct pooled *pool_entry(void) {
    struct pooled *entry = calloc(1, sizeof *entry);
    if (entry == NULL) {
        give_up("out of memory");
    }
    entry->next = pool;
    pool = entry;
    return entry;
}

void *room(size_t length) {
    unsigned char *memory = calloc(1, length + 2 * MARGIN);
    if (memory == NULL) {
        give_up("out of memory");
    }
    pool_entry()->memory = memory;
    return memory + MARGIN;
}

json_t *own(json_t *value) {
    if (value == NULL) {
        refuse(INTERNAL, "no JSON could be made of that: text that is not UTF-8?");
    }
    pool_entry()->value = value;
    return value;
}

static void empty_pool(void) {
    while (pool != NULL) {
        struct pooled *entry = pool;
        pool = entry->next;
        free(entry->memory);
        json_decref(entry->value);
        free(entry);
    }
}

static char *format_list(const char *form, va_list arguments) {
    va_list again;
    va_copy(again, arguments);
    int length = vsnprintf(NULL, 0, form, again);
    va_end(again);
    if (length < 0) {
        give_up("a text that cannot be formatted");
    }
    char *text = room((size_t)length + 1);
    vsnprintf(text, (size_t)length + 1, form, arguments);
    return text;
}

char *format(const char *form, ...) {
    va_list arguments;
    va_start(arguments, form);
    char *text = format_list(form, arguments);
    va_end(arguments);
    return text;
}

/* Refusals. */

struct catcher {
    jmp_buf back;
    struct refusal refusal;
};

static struct catcher *catcher;

_Noreturn void rethrow(const struct refusal *refusal) {
    if (catcher == NULL) {
        give_up(refusal->text);
    }
    catcher->refusal = *refusal;
    longjmp(catcher->back, 1);
}

_Noreturn void refuse(enum class class, const char *form, ...) {
    va_list arguments;
    va_start(arguments, form);
    struct refusal refusal = {class, format_list(form, arguments)};
    va_end(arguments);
    rethrow(&refusal);
}

bool attempt(void (*step)(void *), void *argument, struct refusal *refusal) {
    struct catcher here;
    struct catcher *const outer = catcher;
    catcher = &here;
    if (setjmp(here.back) == 0) {
        step(argument);
        catcher = outer;
        return true;
    }
    catcher = outer;
    *refusal = here.refusal;
    return false;
}

/* Bytes. */

struct bytes bytes_of(const char *text) {
    return (struct bytes){(const unsigned char *)text, strlen(text)};
}

static int digit(char given) {
    return given >= '0' && given <= '9' ? given - '0' : given >= 'a' && given <= 'f' ? given - 'a' + 10 : -1;
}

static bool is_hex(const char *text) {
    size_t length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        if (digit(text[i]) < 0) {
            return false;
        }
    }
    return length % 2 == 0;
}

struct bytes unhex(const char *text) {
    if (!is_hex(text)) {
        refuse(BAD_REQUEST, "not bytes in hex");
    }
    size_t length = strlen(text) / 2;
    unsigned char *bytes = room(length);
    for (size_t i = 0; i < length; i++) {
        bytes[i] = (unsigned char)(digit(text[2 * i]) << 4 | digit(text[2 * i + 1]));
    }
    return (struct bytes){bytes, length};
}

char *hex(struct bytes bytes) {
    static const char DIGITS[] = "0123456789abcdef";
    char *text = room(2 * bytes.length + 1);
    for (size_t i = 0; i < bytes.length; i++) {
        text[2 * i] = DIGITS[bytes.at[i] >> 4];
        text[2 * i + 1] = DIGITS[bytes.at[i] & 15];
    }
    return text;
}

bool same_bytes(struct bytes one, struct bytes other) {
    return one.length == other.length && memcmp(one.at, other.at, one.length) == 0;
}

struct bytes join(const struct bytes *parts, size_t count) {
    size_t length = 0;
    for (size_t i = 0; i < count; i++) {
        length += parts[i].length;
    }
    unsigned char *all = room(length);
    size_t at = 0;
    for (size_t i = 0; i < count; i++) {
        memcpy(all + at, parts[i].at, parts[i].length);
        at += parts[i].length;
    }
    return (struct bytes){all, length};
}

/* Fields, and what they hold. */

json_t *field(const json_t *object, const char *name) {
    json_t *value = json_object_get(object, name);
    return json_is_null(value) ? NULL : value;
}

const char *text_in(const json_t *object, const char *name) {
    const char *text = json_string_value(json_object_get(object, name));
    if (text == NULL) {
        refuse(INTERNAL, "there is no text `%s`", name);
    }
    return text;
}

struct bytes bytes_in(const json_t *object, const char *name) {
    return unhex(text_in(object, name));
}

const struct shape BUNDLE[] = {{.name = "device", .kind = DEVICE}, {.name = "bytes", .kind = BYTES}, {0}};

static const struct shape IDENTITY[] = {
    {.name = "account_key", .kind = BYTES}, {.name = "device_key", .kind = BYTES}, {.name = "voucher", .kind = BYTES}, {0}};
static const struct shape PACKET[] = {
    {.name = "kind", .kind = PACKET_KIND},
    {.name = "group", .kind = TEXT},
    {.name = "from", .kind = DEVICE},
    {.name = "to", .kind = ADDRESS},
    {.name = "opens_session", .kind = BOOLEAN, .optional = true},
    {.name = "bytes", .kind = BYTES},
    {.name = "seal", .kind = ANY, .optional = true},
    {0}};
static const struct shape CHANGE[] = {
    {.name = "add", .kind = OBJECT, .list = true, .optional = true, .inner = BUNDLE},
    {.name = "remove", .kind = DEVICE, .list = true, .optional = true},
    {.name = "refresh", .kind = BOOLEAN, .optional = true},
    {0}};
static const struct shape LINK_REQUEST[] = {
    {.name = "device", .kind = DEVICE}, {.name = "device_key", .kind = BYTES}, {0}};
static const struct shape KNOWN_GROUP[] = {
    {.name = "id", .kind = TEXT},
    {.name = "members", .kind = DEVICE, .list = true},
    {.name = "changes", .kind = INTEGER},
    {0}};
static const struct shape DECISION[] = {{.name = "fact", .kind = FACT}, {.name = "answer", .kind = BOOLEAN}, {0}};
static const struct shape DELIVERY[] = {
    {.name = "kind", .kind = DELIVERY_KIND},
    {.name = "from", .kind = TEXT, .optional = true},
    {.name = "bytes", .kind = BYTES},
    {.name = "ratchet_tree", .kind = BYTES, .optional = true},
    {0}};

static const struct shape NOTHING[] = {{0}};
static const struct shape A_GROUP[] = {{.name = "group", .kind = TEXT}, {0}};
static const struct shape A_BUNDLE[] = {{.name = "bundle", .kind = OBJECT, .inner = BUNDLE}, {0}};
static const struct shape A_PACKET[] = {{.name = "packet", .kind = OBJECT, .inner = PACKET}, {0}};

static const char *const PACKET_KINDS[] = {
    "change", "welcome", "proposal", "message", "key_distribution", "key_request", "device_list", NULL};
static const char *const DELIVERY_KINDS[] = {
    "mls_message", "prekey_message", "message", "sender_key_distribution", "sender_key_message",
    "session_key", "exported_session_key", "megolm_message", NULL};
static const char *const STANCES[] = {"yes", "no", "ask", NULL};

/* The facts, with the class of the error when the application says no. */
static const struct fact {
    const char *name;
    enum class refusal;
    const struct shape *shape;
} FACTS[] = {
    {"identity", UNTRUSTED_IDENTITY,
     (const struct shape[]){
         {.name = "device", .kind = DEVICE},
         {.name = "identity", .kind = OBJECT, .inner = IDENTITY},
         {.name = "previous", .kind = BYTES, .optional = true},
         {0}}},
    {"unsigned_prekey", AUTH_FAILED, (const struct shape[]){{.name = "device", .kind = DEVICE}, {0}}},
#define MEMBERSHIP \
    (const struct shape[]) { \
        {.name = "group", .kind = TEXT}, {.name = "device", .kind = DEVICE}, {.name = "by", .kind = DEVICE}, \
            {.name = "authenticated", .kind = BOOLEAN}, {0} \
    }
    {"add", REFUSED, MEMBERSHIP},
    {"remove", REFUSED, MEMBERSHIP},
    {"listed_device", UNTRUSTED_IDENTITY, (const struct shape[]){{.name = "device", .kind = DEVICE}, {0}}},
    {"sender", AUTH_FAILED,
     (const struct shape[]){
         {.name = "group", .kind = TEXT}, {.name = "claimed", .kind = DEVICE}, {.name = "owner", .kind = DEVICE}, {0}}},
#define GROUP_AND_DEVICE \
    (const struct shape[]) { \
        {.name = "group", .kind = TEXT}, {.name = "device", .kind = DEVICE}, {0} \
    }
    {"non_member_sender", NOT_MEMBER, GROUP_AND_DEVICE},
    {"recipients", REFUSED,
     (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "sender", .kind = DEVICE}, {0}}},
    {"replay", DUPLICATE,
     (const struct shape[]){
         {.name = "device", .kind = DEVICE}, {.name = "session", .kind = TEXT}, {.name = "index", .kind = INTEGER}, {0}}},
    {"stale_key", REFUSED, GROUP_AND_DEVICE},
    {"history", REFUSED, GROUP_AND_DEVICE},
    {"resend", REFUSED,
     (const struct shape[]){
         {.name = "device", .kind = DEVICE},
         {.name = "account_key", .kind = BYTES},
         {.name = "original", .kind = BYTES},
         {.name = "acknowledged", .kind = BOOLEAN},
         {0}}},
    {"key_request", REFUSED, GROUP_AND_DEVICE},
};

static const struct fact *find_fact(const char *name) {
    for (size_t i = 0; name != NULL && i < sizeof FACTS / sizeof *FACTS; i++) {
        if (strcmp(FACTS[i].name, name) == 0) {
            return &FACTS[i];
        }
    }
    return NULL;
}

static bool is_one_of(const char *const *names, const char *name) {
    for (; names != NULL && *names != NULL; names++) {
        if (strcmp(*names, name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_device(const char *text) {
    const char *slash = strchr(text, '/');
    return slash != NULL && slash != text && slash[1] != '\0' && strchr(slash + 1, '/') == NULL;
}

static void check_value(json_t *value, const struct shape *shape, const char *what);

static void check_name(json_t *value, const char *const *names, const char *what) {
    const char *name = json_string_value(value);
    if (name == NULL) {
        refuse(BAD_REQUEST, "%s: expected a name", what);
    }
    if (!is_one_of(names, name)) {
        refuse(UNSUPPORTED, "%s: unknown name `%s`", what, name);
    }
}

static void check_address(json_t *value, const char *what) {
    static const struct shape TO_GROUP[] = {{.name = "group", .kind = TEXT}, {0}};
    static const struct shape TO_DEVICE[] = {{.name = "device", .kind = DEVICE}, {0}};
    static const struct shape TO_DEVICES[] = {{.name = "devices", .kind = DEVICE, .list = true}, {0}};
    if (json_is_string(value) && strcmp(json_string_value(value), "server") == 0) {
        return;
    }
    check(value, field(value, "group") ? TO_GROUP : field(value, "device") ? TO_DEVICE : TO_DEVICES, what);
}

static void check_fact(json_t *value, const char *what) {
    const char *name = json_string_value(field(value, "fact"));
    if (name == NULL) {
        refuse(BAD_REQUEST, "%s: expected a fact", what);
    }
    const struct fact *fact = find_fact(name);
    if (fact == NULL) {
        refuse(UNSUPPORTED, "%s: unknown fact `%s`", what, name);
    }
    json_t *rest = own(json_copy(value));
    json_object_del(rest, "fact");
    check(rest, fact->shape, what);
    if (fact->refusal == UNTRUSTED_IDENTITY && json_is_null(json_object_get(value, "previous"))) {
        json_object_del(value, "previous");
    }
}

static void check_single(json_t *value, const struct shape *shape, const char *what) {
    const char *text = json_string_value(value);
    switch (shape->kind) {
    case ANY:
        return;
    case TEXT:
        if (text != NULL) {
            return;
        }
        refuse(BAD_REQUEST, "%s: expected text", what);
    case DEVICE:
        if (text != NULL && is_device(text)) {
            return;
        }
        refuse(BAD_REQUEST, "%s: expected a device, such as `bob/phone`", what);
    case BYTES:
        if (text != NULL && is_hex(text)) {
            return;
        }
        refuse(BAD_REQUEST, "%s: expected bytes in hex", what);
    case BOOLEAN:
        if (json_is_boolean(value)) {
            return;
        }
        refuse(BAD_REQUEST, "%s: expected true or false", what);
    case INTEGER:
        if (json_is_integer(value) && json_integer_value(value) >= 0) {
            return;
        }
        refuse(BAD_REQUEST, "%s: expected a number", what);
    case ADDRESS:
        check_address(value, what);
        return;
    case PACKET_KIND:
        check_name(value, PACKET_KINDS, what);
        return;
    case DELIVERY_KIND:
        check_name(value, DELIVERY_KINDS, what);
        return;
    case STANCE:
        check_name(value, STANCES, what);
        return;
    case FACT:
        check_fact(value, what);
        return;
    case OBJECT:
        check(value, shape->inner, what);
        return;
    }
}

static void check_value(json_t *value, const struct shape *shape, const char *what) {
    if (!shape->list) {
        check_single(value, shape, what);
        return;
    }
    if (!json_is_array(value)) {
        refuse(BAD_REQUEST, "%s: expected a list", what);
    }
    size_t index;
    json_t *item;
    json_array_foreach(value, index, item) {
        check_single(item, shape, what);
    }
}

void check(json_t *object, const struct shape *shape, const char *what) {
    if (!json_is_object(object)) {
        refuse(BAD_REQUEST, "%s: expected an object", what);
    }
    size_t known = 0;
    for (; shape->name != NULL; shape++) {
        const char *where = format("%s.%s", what, shape->name);
        json_t *value = json_object_get(object, shape->name);
        if (value != NULL && (!json_is_null(value) || shape->kind == ANY)) {
            check_value(value, shape, where);
            known++;
        } else if (shape->optional) {
            json_object_del(object, shape->name);
        } else {
            refuse(BAD_REQUEST, "%s is missing", where);
        }
    }
    if (json_object_size(object) != known) {
        refuse(BAD_REQUEST, "%s: a field that is not known", what);
    }
}

json_t *read_json(struct bytes text, const struct shape *shape, const char *what) {
    json_error_t error;
    json_t *value = json_loadb((const char *)text.at, text.length, JSON_REJECT_DUPLICATES, &error);
    if (value == NULL) {
        refuse(BAD_REQUEST, "malformed %s: %s", what, error.text);
    }
    check(own(value), shape, what);
    return value;
}

struct bytes write_json(const json_t *value) {
    size_t length = json_dumpb(value, NULL, 0, JSON_COMPACT);
    if (length == 0) {
        refuse(INTERNAL, "JSON that cannot be written");
    }
    char *text = room(length + 1);
    json_dumpb(value, text, length, JSON_COMPACT);
    return (struct bytes){(const unsigned char *)text, length};
}

/* Questions and events. */

struct notebook {
    const char *stance;
    json_t *table;  /* answers given beforehand, by fact */
    json_t *once;   /* answers to the call that waits */
    json_t *events;
    json_t *waiting; /* the fact that the call waits for, or NULL */
};

static struct notebook *new_notebook(void) {
    struct notebook *notebook = calloc(1, sizeof *notebook);
    if (notebook == NULL) {
        give_up("out of memory");
    }
    notebook->stance = "yes";
    notebook->table = json_object();
    notebook->once = json_object();
    notebook->events = json_array();
    return notebook;
}

static void drop_notebook(struct notebook *notebook) {
    json_decref(notebook->table);
    json_decref(notebook->once);
    json_decref(notebook->events);
    json_decref(notebook->waiting);
    free(notebook);
}

/* A fact as a key: equal facts have equal keys, whatever the order of their fields. */
static const char *fact_key(const json_t *fact) {
    size_t length = json_dumpb(fact, NULL, 0, JSON_COMPACT | JSON_SORT_KEYS);
    char *key = room(length + 1);
    json_dumpb(fact, key, length, JSON_COMPACT | JSON_SORT_KEYS);
    return key;
}

bool consult(struct notebook *notebook, const char *point, enum asker asker, json_t *fact) {
    const char *key = fact_key(fact);
    json_t *known = json_object_get(notebook->once, key);
    if (known == NULL) {
        known = json_object_get(notebook->table, key);
    }
    if (known == NULL && strcmp(notebook->stance, "ask") == 0) {
        json_decref(notebook->waiting);
        notebook->waiting = json_incref(fact);
        refuse(UNDECIDED, "%s waits for an answer", point);
    }
    bool answer = known != NULL ? json_is_true(known) : strcmp(notebook->stance, "yes") == 0;
    note(notebook, pack("{s:s, s:s, s:s, s:O, s:b}", "event", "consulted", "point", point, "asker",
                        asker == LIBRARY ? "library" : "group_management", "about", fact, "answer", answer));
    return answer;
}

void require(struct notebook *notebook, const char *point, enum asker asker, json_t *fact) {
    if (!consult(notebook, point, asker, fact)) {
        const char *name = text_in(fact, "fact");
        refuse(find_fact(name)->refusal, "the application said no at %s: %s", point, name);
    }
}

void note(struct notebook *notebook, json_t *event) {
    json_array_append(notebook->events, event);
}

/* Calls. */

static const struct call {
    const char *verb;
    const struct shape *fields;
    const char *answer;
    const char *capability; /* what a device without it lacks; NULL where it is obligatory, or none of its own */
} CALLS[] = {
    {"identity", NOTHING, "identity", NULL},
    {"publish", (const struct shape[]){{.name = "peer", .kind = DEVICE}, {0}}, "bundle", NULL},
    {"create_group", A_GROUP, "output", "groups"},
    {"change",
     (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "change", .kind = OBJECT, .inner = CHANGE}, {0}},
     "output", NULL},
    {"wants", A_GROUP, "devices", NULL},
    {"send", (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "plaintext", .kind = BYTES}, {0}},
     "output", NULL},
    {"receive", A_PACKET, "output", NULL},
    {"roster", A_GROUP, "roster", NULL},
    {"introduce", A_BUNDLE, "output", "pairwise_sessions"},
    {"fingerprint", (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "peer", .kind = DEVICE}, {0}},
     "fingerprint", "fingerprint"},
    {"resend",
     (const struct shape[]){
         {.name = "group", .kind = TEXT},
         {.name = "plaintext", .kind = BYTES},
         {.name = "bundle", .kind = OBJECT, .inner = BUNDLE},
         {.name = "acknowledged", .kind = BOOLEAN},
         {0}},
     "output", "resend"},
    {"share_history", (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "to", .kind = DEVICE}, {0}},
     "output", "history"},
    {"request_keys", (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "holder", .kind = DEVICE}, {0}},
     "output", "key_request"},
    {"link_request", NOTHING, "link_request", "linking"},
    {"authorise", (const struct shape[]){{.name = "request", .kind = OBJECT, .inner = LINK_REQUEST}, {0}},
     "authorisation", "linking"},
    {"accept_authorisation",
     (const struct shape[]){{.name = "authorisation", .kind = OBJECT, .inner = BUNDLE}, {0}}, "done", "linking"},
    {"group_info", A_GROUP, "bytes", "external_join"},
    {"external_join", (const struct shape[]){{.name = "group_info", .kind = BYTES}, {0}}, "output", "external_join"},
    {"tree_in_welcome", (const struct shape[]){{.name = "group", .kind = TEXT}, {.name = "inside", .kind = BOOLEAN}, {0}},
     "done", "ratchet_tree"},
    {"ratchet_tree", A_GROUP, "bytes", "ratchet_tree"},
    {"join_with_tree",
     (const struct shape[]){
         {.name = "welcome", .kind = OBJECT, .inner = PACKET}, {.name = "ratchet_tree", .kind = BYTES}, {0}},
     "output", "ratchet_tree"},
    {"store", NOTHING, "bytes", "persistence"},
    {"export_state", NOTHING, "bytes", "state_export"},
    {"standard_keys", NOTHING, "start", "standard_keys"},
    {"transcript", NOTHING, "deliveries", NULL},
    {"misbehave", (const struct shape[]){{.name = "fault", .kind = ANY}, {0}}, "done", NULL},
    {"craft", (const struct shape[]){{.name = "forgery", .kind = ANY}, {0}}, "forged", NULL},
};

static const char *const FAULTS[] = {
    "relabelled_sender", "degenerate_key", "wrong_leaf_signature", "wrong_parent_hash", "wrong_confirmation_tag", NULL};

static const struct forgery {
    const char *name;
    const struct shape *fields;
    const char *capability;
} FORGERIES[] = {
    {"message",
     (const struct shape[]){
         {.name = "group", .kind = OBJECT, .inner = KNOWN_GROUP},
         {.name = "claim", .kind = DEVICE},
         {.name = "plaintext", .kind = BYTES},
         {0}},
     "forged_message"},
    {"key_distribution",
     (const struct shape[]){
         {.name = "group", .kind = OBJECT, .inner = KNOWN_GROUP},
         {.name = "claim", .kind = DEVICE},
         {.name = "victims", .kind = OBJECT, .list = true, .inner = BUNDLE},
         {.name = "plaintext", .kind = BYTES},
         {0}},
     "forged_key_distribution"},
    {"change",
     (const struct shape[]){
         {.name = "group", .kind = OBJECT, .inner = KNOWN_GROUP},
         {.name = "claim", .kind = DEVICE},
         {.name = "add", .kind = OBJECT, .list = true, .optional = true, .inner = BUNDLE},
         {.name = "remove", .kind = DEVICE, .list = true, .optional = true},
         {0}},
     "forged_change"},
    {"uninvited_join", (const struct shape[]){{.name = "group", .kind = OBJECT, .inner = KNOWN_GROUP}, {0}},
     "uninvited_join"},
    {"broken_bundle", A_BUNDLE, "broken_bundle"},
    {"rewritten_identity", A_PACKET, "rewritten_identity"},
};

static const struct method *find_method(const struct adapter *adapter, const char *verb) {
    for (const struct method *method = adapter->methods; method->verb != NULL; method++) {
        if (strcmp(method->verb, verb) == 0) {
            return method;
        }
    }
    return NULL;
}

/* The one name in `{name: fields}`. */
static const char *only_name(json_t *given, const char *what, json_t **fields) {
    if (!json_is_object(given) || json_object_size(given) != 1) {
        refuse(BAD_REQUEST, "expected one %s", what);
    }
    void *first = json_object_iter(given);
    *fields = json_object_iter_value(first);
    return json_object_iter_key(first);
}

static json_t *misbehave(const struct adapter *adapter, void *device, json_t *given) {
    json_t *inner = NULL;
    const char *name = json_is_string(given) ? json_string_value(given) : only_name(given, "fault", &inner);
    bool none = strcmp(name, "none") == 0;
    if (adapter->misbehave == NULL || !(none || is_one_of(adapter->faults, name))) {
        refuse(UNSUPPORTED, "unknown fault `%s`", name);
    }
    bool names_a_device = strcmp(name, "relabelled_sender") == 0;
    if (names_a_device != (inner != NULL)) {
        refuse(BAD_REQUEST, "malformed fault `%s`", name);
    }
    if (names_a_device) {
        check_single(inner, &(const struct shape){.kind = DEVICE}, name);
    }
    adapter->misbehave(device, name, json_string_value(inner));
    return NULL;
}

static json_t *craft(const struct adapter *adapter, void *device, json_t *given) {
    json_t *fields;
    const char *name = only_name(given, "forgery", &fields);
    for (size_t i = 0; i < sizeof FORGERIES / sizeof *FORGERIES; i++) {
        if (strcmp(FORGERIES[i].name, name) == 0 && adapter->craft != NULL && is_one_of(adapter->forgeries, name)) {
            check(fields, FORGERIES[i].fields, name);
            return adapter->craft(device, name, fields);
        }
    }
    refuse(UNSUPPORTED, "unknown forgery `%s`", name);
}

/* Devices by their handles. */

struct seat {
    struct seat *next;
    char *handle;
    struct notebook *notebook; /* NULL for a passive device */
    void *device;
    json_t *waiting; /* the call that waits for an answer, or NULL */
    json_int_t token;
};

struct child {
    const struct adapter *adapter;
    struct seat *seats;
    struct seat *passives;
    json_int_t last_token;
    json_t *request; /* the one that is being answered */
    json_t *reply;
    json_t *events;
};

static struct seat *find(struct seat *seats, const char *handle) {
    while (seats != NULL && strcmp(seats->handle, handle) != 0) {
        seats = seats->next;
    }
    return seats;
}

static struct seat *found(struct seat *seats, const char *handle) {
    struct seat *seat = find(seats, handle);
    if (seat == NULL) {
        refuse(BAD_REQUEST, "no device `%s`", handle);
    }
    return seat;
}

static void sit(struct seat **seats, const char *handle, void *device, struct notebook *notebook) {
    struct seat *seat = calloc(1, sizeof *seat);
    char *name = strdup(handle);
    if (seat == NULL || name == NULL) {
        give_up("out of memory");
    }
    *seat = (struct seat){.next = *seats, .handle = name, .notebook = notebook, .device = device};
    *seats = seat;
}

static void drop_seats(struct seat *seats, void (*drop)(void *)) {
    while (seats != NULL) {
        struct seat *seat = seats;
        seats = seat->next;
        drop(seat->device);
        if (seat->notebook != NULL) {
            drop_notebook(seat->notebook);
        }
        json_decref(seat->waiting);
        free(seat->handle);
        free(seat);
    }
}

static json_t *done(void) {
    return pack("{s:{s:{}}}", "ok", "done");
}

struct making {
    const struct adapter *adapter;
    const char *verb;
    json_t *fields;
    struct notebook *notebook;
    void *device;
};

static void make(void *argument) {
    struct making *making = argument;
    const char *id = text_in(making->fields, "id");
    if (strcmp(making->verb, "device") == 0) {
        making->device = making->adapter->device(id, making->notebook);
    } else if (strcmp(making->verb, "restore") == 0) {
        making->device = making->adapter->restore(id, bytes_in(making->fields, "state"), making->notebook);
    } else {
        making->device = making->adapter->load(id, bytes_in(making->fields, "store"), making->notebook);
    }
}

static json_t *take_device(struct child *child, const char *verb, json_t *fields) {
    const char *handle = text_in(fields, "handle");
    if (find(child->seats, handle) != NULL) {
        refuse(BAD_REQUEST, "there is a device `%s` already", handle);
    }
    struct making making = {child->adapter, verb, fields, new_notebook(), NULL};
    struct refusal refusal;
    if (!attempt(make, &making, &refusal)) {
        drop_notebook(making.notebook);
        rethrow(&refusal);
    }
    sit(&child->seats, handle, making.device, making.notebook);
    return done();
}

struct calling {
    const struct adapter *adapter;
    struct seat *seat;
    json_t *call;
    json_t *answer;
};

static void call_device(void *argument) {
    struct calling *calling = argument;
    const struct adapter *adapter = calling->adapter;
    void *device = calling->seat->device;
    json_t *fields;
    const char *verb = only_name(calling->call, "call", &fields);
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        const struct call *call = &CALLS[i];
        if (strcmp(call->verb, verb) != 0) {
            continue;
        }
        json_t *result;
        if (strcmp(verb, "misbehave") == 0 || strcmp(verb, "craft") == 0) {
            check(fields, call->fields, verb);
            result = verb[0] == 'm' ? misbehave(adapter, device, field(fields, "fault"))
                                    : craft(adapter, device, field(fields, "forgery"));
        } else {
            const struct method *method = find_method(adapter, verb);
            if (method == NULL) {
                refuse(UNSUPPORTED, "%s", verb);
            }
            check(fields, call->fields, verb);
            result = method->call(device, fields);
        }
        json_t *empty = own(json_object());
        calling->answer =
            pack("{s:{s:O}}", "ok", call->answer, result == NULL || strcmp(call->answer, "done") == 0 ? empty : result);
        return;
    }
    refuse(UNSUPPORTED, "unknown call `%s`", verb);
}

static json_t *take_call(struct child *child, struct seat *seat, json_t *call) {
    struct notebook *notebook = seat->notebook;
    struct calling calling = {child->adapter, seat, call, NULL};
    struct refusal refusal;
    bool succeeded = attempt(call_device, &calling, &refusal);
    json_t *noticed = own(notebook->events);
    notebook->events = json_array();
    if (!succeeded && refusal.class == UNDECIDED && notebook->waiting != NULL) {
        /* The call will be made again from its start, and notice the same things again. */
        json_t *fact = own(notebook->waiting);
        notebook->waiting = NULL;
        seat->waiting = json_pack("{s:O, s:O}", "call", call, "fact", fact);
        seat->token = ++child->last_token;
        return pack("{s:{s:I, s:O}}", "undecided", "token", seat->token, "fact", fact);
    }
    child->events = noticed;
    if (!succeeded) {
        rethrow(&refusal);
    }
    return calling.answer;
}

static void forget_waiting(struct seat *seat) {
    json_decref(seat->waiting);
    seat->waiting = NULL;
}

static json_t *take_resume(struct child *child, json_t *fields) {
    struct seat *seat = found(child->seats, text_in(fields, "handle"));
    json_int_t token = json_integer_value(field(fields, "token"));
    if (seat->waiting == NULL || seat->token != token) {
        refuse(BAD_REQUEST, "no call waits with token %" JSON_INTEGER_FORMAT, token);
    }
    json_t *waiting = own(seat->waiting);
    seat->waiting = NULL;
    json_object_set(seat->notebook->once, fact_key(field(waiting, "fact")), field(fields, "answer"));
    return take_call(child, seat, field(waiting, "call"));
}

/* Who the adapter is, with a reason for everything that it does not have. */
static json_t *hello(const struct adapter *adapter) {
    json_t *description = adapter->describe();
    json_t *reasons = field(description, "unsupported");
    json_t *unsupported = own(json_object());
    json_t *lazy = own(json_string("this adapter does not have it"));
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++) {
        if (CALLS[i].capability != NULL && find_method(adapter, CALLS[i].verb) == NULL) {
            json_object_set(unsupported, CALLS[i].capability, lazy);
        }
    }
    if (adapter->restore == NULL) {
        json_object_set(unsupported, "state_export", lazy);
    }
    if (adapter->load == NULL) {
        json_object_set(unsupported, "persistence", lazy);
    }
    for (const char *const *fault = FAULTS; *fault != NULL; fault++) {
        if (!is_one_of(adapter->faults, *fault)) {
            json_object_set(unsupported, *fault, lazy);
        }
    }
    for (size_t i = 0; i < sizeof FORGERIES / sizeof *FORGERIES; i++) {
        if (!is_one_of(adapter->forgeries, FORGERIES[i].name)) {
            json_object_set(unsupported, FORGERIES[i].capability, lazy);
        }
    }
    if (reasons != NULL) {
        json_object_update(unsupported, reasons);
    }
    json_object_set(description, "unsupported", unsupported);
    return pack("{s:{s:i, s:O}}", "hello", "version", VERSION, "description", description);
}

#define HANDLE_AND_ID {.name = "handle", .kind = TEXT}, {.name = "id", .kind = DEVICE}

static const struct {
    const char *verb;
    const struct shape *fields;
} REQUESTS[] = {
    {"hello", NOTHING},
    {"device", (const struct shape[]){HANDLE_AND_ID, {0}}},
    {"restore", (const struct shape[]){HANDLE_AND_ID, {.name = "state", .kind = BYTES}, {0}}},
    {"load", (const struct shape[]){HANDLE_AND_ID, {.name = "store", .kind = BYTES}, {0}}},
    {"passive", (const struct shape[]){{.name = "handle", .kind = TEXT}, {.name = "start", .kind = ANY}, {0}}},
    {"deliver",
     (const struct shape[]){
         {.name = "handle", .kind = TEXT}, {.name = "delivery", .kind = OBJECT, .inner = DELIVERY}, {0}}},
    {"stance", (const struct shape[]){{.name = "handle", .kind = TEXT}, {.name = "stance", .kind = STANCE}, {0}}},
    {"trust",
     (const struct shape[]){
         {.name = "handle", .kind = TEXT}, {.name = "decision", .kind = OBJECT, .inner = DECISION}, {0}}},
    {"call", (const struct shape[]){{.name = "handle", .kind = TEXT}, {.name = "call", .kind = ANY}, {0}}},
    {"resume",
     (const struct shape[]){
         {.name = "handle", .kind = TEXT}, {.name = "token", .kind = INTEGER}, {.name = "answer", .kind = BOOLEAN}, {0}}},
};

static json_t *take_passive(struct child *child, json_t *fields) {
    const char *handle = text_in(fields, "handle");
    if (find(child->passives, handle) != NULL) {
        refuse(BAD_REQUEST, "there is a passive device `%s` already", handle);
    }
    sit(&child->passives, handle, child->adapter->passive(field(fields, "start")), NULL);
    return done();
}

static json_t *take(struct child *child, const char *verb, json_t *fields) {
    const struct adapter *adapter = child->adapter;
    if (strcmp(verb, "hello") == 0) {
        return hello(adapter);
    }
    if (strcmp(verb, "device") == 0 || strcmp(verb, "restore") == 0 || strcmp(verb, "load") == 0) {
        return take_device(child, verb, fields);
    }
    if (strcmp(verb, "passive") == 0) {
        return take_passive(child, fields);
    }
    if (strcmp(verb, "deliver") == 0) {
        struct seat *seat = found(child->passives, text_in(fields, "handle"));
        return pack("{s:{s:O}}", "ok", "delivered", adapter->deliver(seat->device, field(fields, "delivery")));
    }
    if (strcmp(verb, "resume") == 0) {
        return take_resume(child, fields);
    }
    struct seat *seat = found(child->seats, text_in(fields, "handle"));
    if (strcmp(verb, "stance") == 0) {
        const char *stance = text_in(fields, "stance");
        seat->notebook->stance = strcmp(stance, "yes") == 0 ? "yes" : strcmp(stance, "no") == 0 ? "no" : "ask";
        return done();
    }
    if (strcmp(verb, "trust") == 0) {
        json_t *decision = field(fields, "decision");
        json_object_set(seat->notebook->table, fact_key(field(decision, "fact")), field(decision, "answer"));
        return done();
    }
    forget_waiting(seat);
    json_object_clear(seat->notebook->once);
    return take_call(child, seat, field(fields, "call"));
}

static void answer_request(void *argument) {
    struct child *child = argument;
    const struct adapter *adapter = child->adapter;
    json_t *fields;
    const char *verb = only_name(child->request, "verb", &fields);
    for (size_t i = 0; i < sizeof REQUESTS / sizeof *REQUESTS; i++) {
        if (strcmp(REQUESTS[i].verb, verb) != 0) {
            continue;
        }
        if ((strcmp(verb, "restore") == 0 && adapter->restore == NULL) || (strcmp(verb, "load") == 0 && adapter->load == NULL)
            || ((strcmp(verb, "passive") == 0 || strcmp(verb, "deliver") == 0) && adapter->passive == NULL)) {
            refuse(UNSUPPORTED, "%s", verb);
        }
        check(fields, REQUESTS[i].fields, verb);
        child->reply = take(child, verb, fields);
        return;
    }
    refuse(UNSUPPORTED, "unknown verb `%s`", verb);
}

/* Lines. */

/* Where the digits of the frame's own id begin, or NULL: `"id"`, a colon and a digit, and no brace or bracket around it
 * but the first. */
static char *find_id(char *line, size_t length) {
    int depth = 0;
    for (size_t i = 0; i < length; i++) {
        char given = line[i];
        if (given == '{' || given == '[') {
            depth++;
        } else if (given == '}' || given == ']') {
            depth--;
        } else if (given == '"') {
            size_t start = ++i;
            while (i < length && line[i] != '"') {
                i += line[i] == '\\' ? 2 : 1;
            }
            if (depth == 1 && i < length && i - start == 2 && memcmp(line + start, "id", 2) == 0) {
                char *at = line + i + 1;
                at += strspn(at, " \t\r");
                if (*at == ':') {
                    at += 1 + strspn(at + 1, " \t\r");
                    return digit(*at) >= 0 && digit(*at) < 10 ? at : NULL;
                }
            }
        }
    }
    return NULL;
}

/* The frame's id, exactly: jansson's integers end at 2^63 - 1, so a greater one is taken out of the line. */
static bool take_id(char *line, size_t length, uint64_t *id) {
    char *at = find_id(line, length);
    if (at == NULL) {
        return false;
    }
    uint64_t value = 0;
    size_t digits = strspn(at, "0123456789");
    for (size_t i = 0; i < digits; i++) {
        uint64_t next = (uint64_t)digit(at[i]);
        if (value > (UINT64_MAX - next) / 10) {
            return false;
        }
        value = value * 10 + next;
    }
    if (strchr(".eE", at[digits]) != NULL && at[digits] != '\0') {
        return false;
    }
    if (value > INT64_MAX) {
        memset(at, ' ', digits);
        at[0] = '0';
    }
    *id = value;
    return true;
}

struct reading {
    struct child *child;
    char *line;
    size_t length;
    uint64_t id;
};

static void read_and_answer(void *argument) {
    static const struct shape FRAME[] = {{.name = "id", .kind = INTEGER}, {.name = "request", .kind = ANY}, {0}};
    struct reading *reading = argument;
    uint64_t id = 0;
    bool has_id = take_id(reading->line, reading->length, &id);
    json_error_t error;
    json_t *frame = json_loadb(reading->line, reading->length, JSON_REJECT_DUPLICATES, &error);
    if (frame == NULL) {
        refuse(BAD_REQUEST, "no JSON: %s", error.text);
    }
    own(frame);
    reading->id = has_id ? id : 0;
    check(frame, FRAME, "frame");
    reading->child->request = field(frame, "request");
    answer_request(reading->child);
}

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000U + (uint64_t)time.tv_nsec;
}

static int put_json(const char *buffer, size_t size, void *file) {
    return fwrite(buffer, 1, size, file) == size ? 0 : -1;
}

static bool answer_line(struct child *child, char *line, size_t length, FILE *output) {
    uint64_t start = now();
    struct reading reading = {child, line, length, 0};
    struct refusal refusal;
    child->reply = child->events = NULL;
    if (!attempt(read_and_answer, &reading, &refusal)) {
        if (refusal.class == INTERNAL) {
            fprintf(stderr, "internal: %s\n", refusal.text);
        }
        /* A library's words may be in no encoding at all. */
        json_t *text = json_string(refusal.text);
        text = own(text != NULL ? text : json_string("(text that is not UTF-8)"));
        child->reply = pack("{s:{s:s, s:O}}", "error", "class", CLASSES[refusal.class], "text", text);
    }
    uint64_t spent = now() - start;
    fprintf(output, "{\"id\":%" PRIu64 ",\"reply\":", reading.id);
    json_dump_callback(child->reply, put_json, output, JSON_COMPACT);
    if (json_array_size(child->events) > 0) {
        fputs(",\"events\":", output);
        json_dump_callback(child->events, put_json, output, JSON_COMPACT);
    }
    fprintf(output, ",\"nanoseconds\":%" PRIu64 "}\n", spent);
    bool written = fflush(output) == 0;
    empty_pool();
    return written;
}

int serve(const struct adapter *adapter) {
    /* Whatever a library prints is for people: nothing but replies goes to stdout. */
    int own_output = dup(STDOUT_FILENO);
    FILE *output = own_output < 0 ? NULL : fdopen(own_output, "w");
    if (output == NULL || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
        give_up("stdout cannot be taken");
    }
    struct child child = {.adapter = adapter};
    char *line = NULL;
    size_t size = 0;
    ssize_t length;
    bool written = true;
    while (written && (length = getline(&line, &size, stdin)) > 0) {
        written = answer_line(&child, line, (size_t)length, output);
    }
    free(line);
    fclose(output);
    drop_seats(child.seats, adapter->drop);
    drop_seats(child.passives, adapter->drop_passive);
    return 0;
}

/* The stdio protocol of E2ESM in C: lines in, lines out, questions and events. PROTOCOL.md describes it.
 *
 * An adapter fills in a `struct adapter` and calls `serve`. This file knows no library.
 *
 * Two conventions keep adapters short:
 *
 * - Whatever is made while a request is answered belongs to the request: `own`, `room` and `format` give it to a pool that is
 *   emptied after the reply. Nobody frees or decrefs anything; what is to stay is put into an object that stays (with
 *   `json_object_set`, never with a `_new` function) or copied.
 * - A refusal is thrown: `refuse` does not return. It leaves by longjmp, so it must not be called in a function that a
 *   library calls back.
 *
 * Bytes are hex in the JSON that comes and goes. What a method is given has been checked: no field is missing, unknown or of
 * another type, hex is hex and a device is a device.
 */
#ifndef E2ESM_H
#define E2ESM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The classes of errors (PROTOCOL.md, "Errors"). UNDECIDED is no error on the wire: the call waits for an answer. */
enum class {
    AUTH_FAILED,
    BAD_REQUEST,
    DUPLICATE,
    INTERNAL,
    NO_KEY,
    NOT_MEMBER,
    REFUSED,
    STALE_EPOCH,
    UNDECIDED,
    UNSUPPORTED,
    UNTRUSTED_IDENTITY,
};

_Noreturn void refuse(enum class class, const char *form, ...) __attribute__((format(printf, 2, 3)));

struct refusal {
    enum class class;
    const char *text; /* of this request */
};

/* Runs `step`. False if it refused, and then `refusal` says why. */
bool attempt(void (*step)(void *), void *argument, struct refusal *refusal);

/* Throws a refusal that `attempt` caught. */
_Noreturn void rethrow(const struct refusal *refusal);

/* Memory of this request, zeroed, with a little more than was asked for at both ends. Never NULL. */
void *room(size_t length);
char *format(const char *form, ...) __attribute__((format(printf, 1, 2)));
/* Gives a new reference to the request's pool. NULL is a failure of ours and ends as `internal`. */
json_t *own(json_t *value);

struct bytes {
    const unsigned char *at;
    size_t length;
};

struct bytes bytes_of(const char *text); /* a string's, without its end */
struct bytes unhex(const char *hex);
char *hex(struct bytes bytes);
bool same_bytes(struct bytes one, struct bytes other);
struct bytes join(const struct bytes *parts, size_t count);

/* Fields of an object. `text_in` refuses with `internal` where there is no such string: what comes from outside has been
 * checked before. */
const char *text_in(const json_t *object, const char *name);
struct bytes bytes_in(const json_t *object, const char *name);
/* NULL where there is none. */
json_t *field(const json_t *object, const char *name);

/* Text that came from elsewhere as JSON; `bad_request` where it is none, or not of that shape. */
struct shape;
json_t *read_json(struct bytes text, const struct shape *shape, const char *what);
struct bytes write_json(const json_t *value);

/* What fields hold. */
enum kind { ANY, TEXT, DEVICE, BYTES, BOOLEAN, INTEGER, ADDRESS, PACKET_KIND, DELIVERY_KIND, STANCE, FACT, OBJECT };

/* A field of an object; a list of shapes ends with one without a name. */
struct shape {
    const char *name;
    enum kind kind;
    bool list;
    bool optional;
    const struct shape *inner; /* of OBJECT */
};

extern const struct shape BUNDLE[]; /* device, bytes */

/* One device's questions, their answers, and what it noticed. */
struct notebook;

enum asker { LIBRARY, GROUP_MANAGEMENT };

/* Puts a question about a fact, and tells of it. True is the permissive answer. */
bool consult(struct notebook *notebook, const char *point, enum asker asker, json_t *fact);
/* The same; a no is thrown as the refusal of that fact's class. */
void require(struct notebook *notebook, const char *point, enum asker asker, json_t *fact);
/* Tells what was noticed: an event (PROTOCOL.md, "Events"). */
void note(struct notebook *notebook, json_t *event);

/* json_pack, of this request: `pack("{s:s}", "event", "joined")`. */
#define pack(...) own(json_pack(__VA_ARGS__))

/* A call that a device can do. What it returns is the answer; NULL is an empty one. */
struct method {
    const char *verb;
    json_t *(*call)(void *device, json_t *fields);
};

struct adapter {
    /* The description of PROTOCOL.md, "hello". Its `unsupported` need only hold reasons where there are better ones than
     * "this adapter does not have it". */
    json_t *(*describe)(void);
    void *(*device)(const char *id, struct notebook *notebook);
    void (*drop)(void *device);
    const struct method *methods; /* ended by one without a verb */
    /* Each of these may be NULL, and is then unsupported. */
    void *(*restore)(const char *id, struct bytes state, struct notebook *notebook);
    void *(*load)(const char *id, struct bytes store, struct notebook *notebook);
    /* Attackers; `device` is that of relabelled_sender. The lists end with NULL. */
    const char *const *faults;
    void (*misbehave)(void *device, const char *fault, const char *other);
    const char *const *forgeries;
    json_t *(*craft)(void *device, const char *forgery, json_t *fields);
    /* Recorded vectors. `start` is as it came, unchecked. */
    void *(*passive)(json_t *start);
    json_t *(*deliver)(void *passive, json_t *delivery);
    void (*drop_passive)(void *passive);
};

/* Checks an object against a shape; `bad_request` where it is not of that shape. Fields that are null are taken out. */
void check(json_t *object, const struct shape *shape, const char *what);

/* Answers requests on stdin until it ends; returns the exit status. */
int serve(const struct adapter *adapter);

#endif

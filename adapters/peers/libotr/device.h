/* One device over libotr: what the files of this adapter share. */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdio.h>

/* In this order: none of these headers includes what it needs. */
#include <libotr/proto.h>
#include <libotr/userstate.h>

#include <libotr/message.h>
#include <libotr/privkey.h>

#include "e2esm.h"

/* What libotr calls a protocol: the name of the network that an account is on. */
#define NETWORK "e2esm"

/* A device is an account of libotr's: user and device together are its name. */
struct device {
    char *id;
    struct notebook *notebook;
    OtrlUserState state;
    /* Group to {roster: a set, pending: the bytes of an own change that has not come back} (group.c). */
    json_t *groups;
    /* Peer to the conversation that was last opened or read from, and accepted: {fingerprint in hex, instance}. */
    json_t *accepted;
    /* Peer to what libotr made of a packet with which a conversation was opened, until the application has accepted the
     * fingerprint (conversation.c). */
    json_t *held;
    /* Peer to the group that was last written to: where libotr's own repetitions go. */
    json_t *written;
    /* The device whose label messages bear, or NULL: a fault. */
    char *relabel;
};

/* keys.c */

void start_libotr(void);
/* A key of its own for a new account. */
void make_key(OtrlUserState state, const char *account);
/* Without a tag in its list libotr gives one to the first message of a handshake only (src/message.c:141-157, src/context.c:319),
 * and the other side refuses the second (src/message.c:1082). */
void make_instance_tag(OtrlUserState state, const char *account);
const char *own_fingerprint(const struct device *device); /* 40 hex digits */
const char *readable(const char *fingerprint);            /* as people compare them */

/* conversation.c: a conversation between two accounts, and what libotr leaves to its application. */

bool in_private(const struct device *device, const char *peer);
/* The fingerprint of the present conversation; NULL if there is none. */
const char *peer_fingerprint(const struct device *device, const char *peer);
/* What is to go out to begin a conversation. */
const char *query(const struct device *device);
/* Encrypts, or gives a query where there is no conversation yet; libotr then keeps the message. */
const char *converse(struct device *device, const char *peer, const char *text);
/* What libotr makes of something from `peer`: {injected: [text...], plaintext?: text}. Asks about the fingerprint if this
 * opens a conversation. */
json_t *hear(struct device *device, const char *peer, const char *text);
/* Asks about a fingerprint that was left open by an abandoned call; what libotr wanted to send then comes to `injected`. */
void settle(struct device *device, const char *peer, json_t *injected);

/* group.c */

json_t *create_group(struct device *device, const char *group);
json_t *change(struct device *device, const char *group, json_t *change);
json_t *wants(struct device *device, const char *group);
json_t *send_message(struct device *device, const char *group, const char *text);
json_t *receive(struct device *device, json_t *packet);
json_t *roster(struct device *device, const char *group);
json_t *introduce(struct device *device, json_t *bundle);
json_t *fingerprint(struct device *device, const char *group, const char *peer);
json_t *forge_message(struct device *device, json_t *fields);
json_t *forge_change(struct device *device, json_t *fields);

#endif

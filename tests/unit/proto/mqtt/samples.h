/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/*
 * Packets written down from the standards (notation: wire.h): each type in each version, and every
 * v5 property in every packet that may have it.  All are in the form our encoders choose, so that
 * decoding and encoding must give the same bytes.
 */

#include "proto/mqtt/packet.h"

typedef struct sample {
    gv_mqtt_version_t version;
    bool from_server;
    bool may_be_cut; /* some shorter bodies are packets, too */
    const char *name;
    const char *text;
} sample_t;

#define V31    GV_MQTT_V31
#define V311   GV_MQTT_V311
#define V5     GV_MQTT_V5
#define CLIENT false
#define SERVER true
#define WHOLE  false
#define CUT    true

#define USER_PROPERTIES "26 <a> <b> 26 <a> <> "

/* clang-format off */
static const sample_t samples[] = {
    {V31, CLIENT, WHOLE, "connect",
     "10 [ <MQIsdp> 03 02 003c <id> ]"},
    {V31, CLIENT, CUT, "connect with everything; 3.1 allows to leave off the credentials",
     "10 [ <MQIsdp> 03 f6 0000 <id> <t> <bye> <user> <pwd> ]"},
    {V311, CLIENT, WHOLE, "connect",
     "10 [ <MQTT> 04 02 003c <id> ]"},
    {V311, CLIENT, WHOLE, "connect with an empty client id",
     "10 [ <MQTT> 04 02 003c <> ]"},
    {V311, CLIENT, WHOLE, "connect with everything",
     "10 [ <MQTT> 04 ec ffff <id> <t/w> <bye> <user> 0002 00ff ]"},
    {V5, CLIENT, WHOLE, "connect",
     "10 [ <MQTT> 05 00 0000 [] <> ]"},
    {V5, CLIENT, WHOLE, "connect with a password and no user name",
     "10 [ <MQTT> 05 42 003c [] <> <pwd> ]"},
    {V5, CLIENT, WHOLE, "connect with everything",
     "10 [ <MQTT> 05 f6 003c"
     "  [ 11 0000000a 15 <SCRAM> 16 0002 00ff 17 00 19 01 21 0014 22 000a 27 00010000 "
     USER_PROPERTIES "] <id>"
     "  [ 01 01 02 0000003c 03 <text> 08 <r/t> 09 0003 000102 18 00000005 " USER_PROPERTIES "]"
     "  <t/w> <bye> <user> <pwd> ]"},

    {V31, SERVER, WHOLE, "connack", "20 [ 00 00 ]"},
    {V311, SERVER, WHOLE, "connack with a session", "20 [ 01 00 ]"},
    {V311, SERVER, WHOLE, "connack, not authorized", "20 [ 00 05 ]"},
    {V5, SERVER, WHOLE, "connack", "20 [ 01 00 [] ]"},
    {V5, SERVER, WHOLE, "connack with everything",
     "20 [ 00 00 [ 11 ffffffff 12 <auto-1> 13 003c 15 <SCRAM> 16 <data> 1a <resp> 1c <other:1883>"
     "  1f <hi> 21 0001 22 ffff 24 01 25 00 27 00000001 28 01 29 00 2a 01 " USER_PROPERTIES "] ]"},

    {V31, CLIENT, CUT, "publish QoS 0", "30 [ <a/b> 'payload' ]"},
    {V311, CLIENT, CUT, "publish QoS 0, retained and empty", "31 [ <a/b> ]"},
    {V311, SERVER, CUT, "publish QoS 1", "32 [ <a/b> 0001 'payload' ]"},
    {V311, CLIENT, CUT, "publish QoS 2, dup, retained", "3d [ <a/b> ffff 'payload' ]"},
    {V5, CLIENT, CUT, "publish QoS 0", "30 [ <a/b> [] 'payload' ]"},
    {V5, CLIENT, CUT, "publish with an alias for the topic", "32 [ <> 000a [ 23 0001 ] 'x' ]"},
    {V5, CLIENT, CUT, "publish with everything a client may send",
     "3b [ <a/b> 1234 [ 01 00 02 ffffffff 03 <text/plain> 08 <r> 09 <id> 23 ffff "
     USER_PROPERTIES "] 'payload' ]"},
    {V5, SERVER, CUT, "publish with subscription identifiers",
     "34 [ <a/b> 1234 [ 0b 01 0b 7f 0b 8001 0b ffffff7f ] 'payload' ]"},

    {V31, CLIENT, WHOLE, "puback", "40 [ 0001 ]"},
    {V311, SERVER, WHOLE, "pubrec", "50 [ ffff ]"},
    {V311, SERVER, WHOLE, "pubrel", "62 [ 0100 ]"},
    {V311, CLIENT, WHOLE, "pubcomp", "70 [ 00ff ]"},
    {V5, CLIENT, WHOLE, "puback", "40 [ 0001 ]"},
    {V5, SERVER, CUT, "puback, no subscribers", "40 [ 0001 10 ]"},
    {V5, CLIENT, CUT, "puback with properties",
     "40 [ 0001 80 [ 1f <why> " USER_PROPERTIES "] ]"},
    {V5, SERVER, CUT, "pubrec with properties", "50 [ 0001 97 [ 1f <full> " USER_PROPERTIES "] ]"},
    {V5, CLIENT, CUT, "pubrel with properties", "62 [ 0001 92 [ 1f <gone> " USER_PROPERTIES "] ]"},
    {V5, SERVER, CUT, "pubcomp with properties", "70 [ 0001 00 [ 1f <ok> " USER_PROPERTIES "] ]"},

    {V31, CLIENT, WHOLE, "subscribe", "82 [ 0001 <a/b> 01 ]"},
    {V311, CLIENT, CUT, "subscribe to several", "82 [ 0001 <a/b> 00 <+/#> 01 <$share/g/a> 02 ]"},
    {V5, CLIENT, WHOLE, "subscribe", "82 [ 000a [] <a> 00 ]"},
    {V5, CLIENT, CUT, "subscribe with all options and properties",
     "82 [ 000a [ 0b ffffff7f " USER_PROPERTIES "] <a> 01 <b> 2e <$share/g/#> 18 ]"},
    {V311, SERVER, CUT, "suback", "90 [ 0001 00 01 02 80 ]"},
    {V5, SERVER, CUT, "suback",
     "90 [ 0001 [ 1f <some> " USER_PROPERTIES "] 00 01 02 80 83 87 8f 91 97 9e a1 a2 ]"},

    {V31, CLIENT, WHOLE, "unsubscribe", "a2 [ 0001 <a/b> ]"},
    {V311, CLIENT, CUT, "unsubscribe from several", "a2 [ 0001 <a/b> <#> <$share/g/a> ]"},
    {V5, CLIENT, CUT, "unsubscribe", "a2 [ ffff [ " USER_PROPERTIES "] <a/b> <+> ]"},
    {V311, SERVER, WHOLE, "unsuback", "b0 [ 0001 ]"},
    {V5, SERVER, CUT, "unsuback",
     "b0 [ 0001 [ 1f <some> " USER_PROPERTIES "] 00 11 80 83 87 8f 91 ]"},

    {V31, CLIENT, WHOLE, "pingreq", "c0 []"},
    {V5, SERVER, WHOLE, "pingresp", "d0 []"},

    {V311, CLIENT, WHOLE, "disconnect", "e0 []"},
    {V5, CLIENT, WHOLE, "disconnect", "e0 []"},
    {V5, CLIENT, CUT, "disconnect with will", "e0 [ 04 ]"},
    {V5, CLIENT, CUT, "disconnect with all a client may say",
     "e0 [ 00 [ 11 00000000 1f <bye> " USER_PROPERTIES "] ]"},
    {V5, SERVER, CUT, "disconnect with all a server may say",
     "e0 [ 9c [ 1c <other> 1f <full> " USER_PROPERTIES "] ]"},

    {V5, SERVER, WHOLE, "auth, success", "f0 []"},
    {V5, SERVER, CUT, "auth, continue", "f0 [ 18 [ 15 <SCRAM> 16 <data> ] ]"},
    {V5, CLIENT, CUT, "auth, again",
     "f0 [ 19 [ 15 <SCRAM> 16 <data> 1f <why> " USER_PROPERTIES "] ]"},
};
/* clang-format on */

enum {
    SAMPLE_COUNT = sizeof(samples) / sizeof(samples[0])
};

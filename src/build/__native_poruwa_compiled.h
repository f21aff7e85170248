#ifndef MYPYC_NATIVE_poruwa_compiled_H
#define MYPYC_NATIVE_poruwa_compiled_H
#include <Python.h>
#include <CPy.h>
#ifndef MYPYC_DECLARED_tuple_T4OOOO
#define MYPYC_DECLARED_tuple_T4OOOO
typedef struct tuple_T4OOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
} tuple_T4OOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T0
#define MYPYC_DECLARED_tuple_T0
typedef struct tuple_T0 {
    int empty_struct_error_flag;
} tuple_T0;
#endif

#ifndef MYPYC_DECLARED_tuple_T3IOO
#define MYPYC_DECLARED_tuple_T3IOO
typedef struct tuple_T3IOO {
    CPyTagged f0;
    PyObject *f1;
    PyObject *f2;
} tuple_T3IOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T3CIO
#define MYPYC_DECLARED_tuple_T3CIO
typedef struct tuple_T3CIO {
    char f0;
    CPyTagged f1;
    PyObject *f2;
} tuple_T3CIO;
#endif

#ifndef MYPYC_DECLARED_tuple_T2CC
#define MYPYC_DECLARED_tuple_T2CC
typedef struct tuple_T2CC {
    char f0;
    char f1;
} tuple_T2CC;
#endif

#ifndef MYPYC_DECLARED_tuple_T2OC
#define MYPYC_DECLARED_tuple_T2OC
typedef struct tuple_T2OC {
    PyObject *f0;
    char f1;
} tuple_T2OC;
#endif

#ifndef MYPYC_DECLARED_tuple_T3OOO
#define MYPYC_DECLARED_tuple_T3OOO
typedef struct tuple_T3OOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
} tuple_T3OOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T2OO
#define MYPYC_DECLARED_tuple_T2OO
typedef struct tuple_T2OO {
    PyObject *f0;
    PyObject *f1;
} tuple_T2OO;
#endif

#ifndef MYPYC_DECLARED_tuple_T3CCO
#define MYPYC_DECLARED_tuple_T3CCO
typedef struct tuple_T3CCO {
    char f0;
    char f1;
    PyObject *f2;
} tuple_T3CCO;
#endif

#ifndef MYPYC_DECLARED_tuple_T1O
#define MYPYC_DECLARED_tuple_T1O
typedef struct tuple_T1O {
    PyObject *f0;
} tuple_T1O;
#endif

#ifndef MYPYC_DECLARED_tuple_T2OI
#define MYPYC_DECLARED_tuple_T2OI
typedef struct tuple_T2OI {
    PyObject *f0;
    CPyTagged f1;
} tuple_T2OI;
#endif

#ifndef MYPYC_DECLARED_tuple_T2II
#define MYPYC_DECLARED_tuple_T2II
typedef struct tuple_T2II {
    CPyTagged f0;
    CPyTagged f1;
} tuple_T2II;
#endif

#ifndef MYPYC_DECLARED_tuple_T9OOOOOOOOO
#define MYPYC_DECLARED_tuple_T9OOOOOOOOO
typedef struct tuple_T9OOOOOOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
    PyObject *f5;
    PyObject *f6;
    PyObject *f7;
    PyObject *f8;
} tuple_T9OOOOOOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T7OOOOOOO
#define MYPYC_DECLARED_tuple_T7OOOOOOO
typedef struct tuple_T7OOOOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
    PyObject *f5;
    PyObject *f6;
} tuple_T7OOOOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T2IO
#define MYPYC_DECLARED_tuple_T2IO
typedef struct tuple_T2IO {
    CPyTagged f0;
    PyObject *f1;
} tuple_T2IO;
#endif

#ifndef MYPYC_DECLARED_tuple_T4CIOO
#define MYPYC_DECLARED_tuple_T4CIOO
typedef struct tuple_T4CIOO {
    char f0;
    CPyTagged f1;
    PyObject *f2;
    PyObject *f3;
} tuple_T4CIOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T2IF
#define MYPYC_DECLARED_tuple_T2IF
typedef struct tuple_T2IF {
    CPyTagged f0;
    double f1;
} tuple_T2IF;
#endif

#ifndef MYPYC_DECLARED_tuple_T3CCC
#define MYPYC_DECLARED_tuple_T3CCC
typedef struct tuple_T3CCC {
    char f0;
    char f1;
    char f2;
} tuple_T3CCC;
#endif

#ifndef MYPYC_DECLARED_tuple_T10OOOOOOOOOO
#define MYPYC_DECLARED_tuple_T10OOOOOOOOOO
typedef struct tuple_T10OOOOOOOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
    PyObject *f5;
    PyObject *f6;
    PyObject *f7;
    PyObject *f8;
    PyObject *f9;
} tuple_T10OOOOOOOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T13FFFFFFFFFFFFF
#define MYPYC_DECLARED_tuple_T13FFFFFFFFFFFFF
typedef struct tuple_T13FFFFFFFFFFFFF {
    double f0;
    double f1;
    double f2;
    double f3;
    double f4;
    double f5;
    double f6;
    double f7;
    double f8;
    double f9;
    double f10;
    double f11;
    double f12;
} tuple_T13FFFFFFFFFFFFF;
#endif

#ifndef MYPYC_DECLARED_tuple_T3OIO
#define MYPYC_DECLARED_tuple_T3OIO
typedef struct tuple_T3OIO {
    PyObject *f0;
    CPyTagged f1;
    PyObject *f2;
} tuple_T3OIO;
#endif

#ifndef MYPYC_DECLARED_tuple_T4OIOO
#define MYPYC_DECLARED_tuple_T4OIOO
typedef struct tuple_T4OIOO {
    PyObject *f0;
    CPyTagged f1;
    PyObject *f2;
    PyObject *f3;
} tuple_T4OIOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T3OIC
#define MYPYC_DECLARED_tuple_T3OIC
typedef struct tuple_T3OIC {
    PyObject *f0;
    CPyTagged f1;
    char f2;
} tuple_T3OIC;
#endif

#ifndef MYPYC_DECLARED_tuple_T2FI
#define MYPYC_DECLARED_tuple_T2FI
typedef struct tuple_T2FI {
    double f0;
    CPyTagged f1;
} tuple_T2FI;
#endif

#ifndef MYPYC_DECLARED_tuple_T5IFFFF
#define MYPYC_DECLARED_tuple_T5IFFFF
typedef struct tuple_T5IFFFF {
    CPyTagged f0;
    double f1;
    double f2;
    double f3;
    double f4;
} tuple_T5IFFFF;
#endif

#ifndef MYPYC_DECLARED_tuple_T1I
#define MYPYC_DECLARED_tuple_T1I
typedef struct tuple_T1I {
    CPyTagged f0;
} tuple_T1I;
#endif

#ifndef MYPYC_DECLARED_tuple_T4IIII
#define MYPYC_DECLARED_tuple_T4IIII
typedef struct tuple_T4IIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
} tuple_T4IIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T6OOOOOO
#define MYPYC_DECLARED_tuple_T6OOOOOO
typedef struct tuple_T6OOOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
    PyObject *f5;
} tuple_T6OOOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T2FO
#define MYPYC_DECLARED_tuple_T2FO
typedef struct tuple_T2FO {
    double f0;
    PyObject *f1;
} tuple_T2FO;
#endif

#ifndef MYPYC_DECLARED_tuple_T11IIIIIIIIIII
#define MYPYC_DECLARED_tuple_T11IIIIIIIIIII
typedef struct tuple_T11IIIIIIIIIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
    CPyTagged f4;
    CPyTagged f5;
    CPyTagged f6;
    CPyTagged f7;
    CPyTagged f8;
    CPyTagged f9;
    CPyTagged f10;
} tuple_T11IIIIIIIIIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T7IIIIIII
#define MYPYC_DECLARED_tuple_T7IIIIIII
typedef struct tuple_T7IIIIIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
    CPyTagged f4;
    CPyTagged f5;
    CPyTagged f6;
} tuple_T7IIIIIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T15IIIIIIIIIIIIIII
#define MYPYC_DECLARED_tuple_T15IIIIIIIIIIIIIII
typedef struct tuple_T15IIIIIIIIIIIIIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
    CPyTagged f4;
    CPyTagged f5;
    CPyTagged f6;
    CPyTagged f7;
    CPyTagged f8;
    CPyTagged f9;
    CPyTagged f10;
    CPyTagged f11;
    CPyTagged f12;
    CPyTagged f13;
    CPyTagged f14;
} tuple_T15IIIIIIIIIIIIIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T8IIIIIIII
#define MYPYC_DECLARED_tuple_T8IIIIIIII
typedef struct tuple_T8IIIIIIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
    CPyTagged f4;
    CPyTagged f5;
    CPyTagged f6;
    CPyTagged f7;
} tuple_T8IIIIIIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T30IIIIIIIIIIIIIIIIIIIIIIIIIIIIII
#define MYPYC_DECLARED_tuple_T30IIIIIIIIIIIIIIIIIIIIIIIIIIIIII
typedef struct tuple_T30IIIIIIIIIIIIIIIIIIIIIIIIIIIIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
    CPyTagged f4;
    CPyTagged f5;
    CPyTagged f6;
    CPyTagged f7;
    CPyTagged f8;
    CPyTagged f9;
    CPyTagged f10;
    CPyTagged f11;
    CPyTagged f12;
    CPyTagged f13;
    CPyTagged f14;
    CPyTagged f15;
    CPyTagged f16;
    CPyTagged f17;
    CPyTagged f18;
    CPyTagged f19;
    CPyTagged f20;
    CPyTagged f21;
    CPyTagged f22;
    CPyTagged f23;
    CPyTagged f24;
    CPyTagged f25;
    CPyTagged f26;
    CPyTagged f27;
    CPyTagged f28;
    CPyTagged f29;
} tuple_T30IIIIIIIIIIIIIIIIIIIIIIIIIIIIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T10IIIIIIIIII
#define MYPYC_DECLARED_tuple_T10IIIIIIIIII
typedef struct tuple_T10IIIIIIIIII {
    CPyTagged f0;
    CPyTagged f1;
    CPyTagged f2;
    CPyTagged f3;
    CPyTagged f4;
    CPyTagged f5;
    CPyTagged f6;
    CPyTagged f7;
    CPyTagged f8;
    CPyTagged f9;
} tuple_T10IIIIIIIIII;
#endif

#ifndef MYPYC_DECLARED_tuple_T8OOOOOOOO
#define MYPYC_DECLARED_tuple_T8OOOOOOOO
typedef struct tuple_T8OOOOOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
    PyObject *f5;
    PyObject *f6;
    PyObject *f7;
} tuple_T8OOOOOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T12OOOOOOOOOOOO
#define MYPYC_DECLARED_tuple_T12OOOOOOOOOOOO
typedef struct tuple_T12OOOOOOOOOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
    PyObject *f5;
    PyObject *f6;
    PyObject *f7;
    PyObject *f8;
    PyObject *f9;
    PyObject *f10;
    PyObject *f11;
} tuple_T12OOOOOOOOOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T5OOOOO
#define MYPYC_DECLARED_tuple_T5OOOOO
typedef struct tuple_T5OOOOO {
    PyObject *f0;
    PyObject *f1;
    PyObject *f2;
    PyObject *f3;
    PyObject *f4;
} tuple_T5OOOOO;
#endif

#ifndef MYPYC_DECLARED_tuple_T3OII
#define MYPYC_DECLARED_tuple_T3OII
typedef struct tuple_T3OII {
    PyObject *f0;
    CPyTagged f1;
    CPyTagged f2;
} tuple_T3OII;
#endif

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_exchange;
    PyObject *_method;
    PyObject *_pool;
    PyObject *_instance;
    CPyTagged _kind;
    PyObject *_connection;
    double _started_at;
    double _sent_at;
    double _answered_at;
    double _watch_at;
    char _is_late;
    char _is_settled;
    char _is_waiting;
    PyObject *_outcome;
} poruwa___gateway___attempt___AttemptObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
} poruwa___gateway___balancer___WaiterObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _slot;
    PyObject *_name;
    PyObject *_address;
    PyObject *_connections;
    CPyTagged _position;
    CPyTagged _answered;
    CPyTagged _latency_micros;
    CPyTagged _in_a_row;
} poruwa___gateway___balancer___InstanceObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_name;
    PyObject *_row;
    PyObject *_section;
    PyObject *__policy;
    PyObject *__shared;
    PyObject *__outbox;
    PyObject *__loop;
    PyObject *__waiting;
    PyObject *_affinity;
    PyObject *__table;
    PyObject *__keys;
    PyObject *__cookie;
    char __hashes_unbound;
    PyObject *_hash_key;
    PyObject *_instances;
    char _has_several;
    PyObject *__by_name;
    PyObject *_selector;
    char _needs_key;
} poruwa___gateway___balancer___PoolObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    PyObject *___mypyc_self__;
    double _now;
    PyObject *_selector;
} poruwa___gateway___balancer____take_bound_Pool_envObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___gateway___balancer_____mypyc_lambda__0__take_bound_Pool_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _buffer_bytes;
    CPyTagged _connections;
    CPyTagged _connections_per_client;
    CPyTagged _header_bytes;
    CPyTagged _header_count;
    CPyTagged _request_line_bytes;
} poruwa___gateway___bounds___ConnectionLimitsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    double _body_seconds;
    double _connect_seconds;
    double _header_seconds;
    double _idle_seconds;
    double _response_seconds;
    double _tunnel_seconds;
} poruwa___gateway___bounds___ConnectionTimeoutsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_primary;
    PyObject *_key;
    PyObject *_directives;
    PyObject *_route;
    PyObject *_rule;
    PyObject *_forwarded;
    PyObject *_detail;
    char _is_collapsed;
    char _wants_part;
} poruwa___gateway___cache___CachePlanObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_sureness;
    PyObject *__gateway;
    CPyTagged _largest_bytes;
    PyObject *_store;
    PyObject *_fills;
    PyObject *__variants;
    PyObject *__passing;
    PyObject *_tags;
    PyObject *_encodings;
    PyObject *_changes;
    PyObject *_origins;
    PyObject *_past;
    PyObject *_coherence;
    CPyTagged _stored;
    PyObject *_siblings;
} poruwa___gateway___cache___GatewayCacheObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    char _is_anonymous;
    double _disconnected_seconds;
    PyObject *_name;
    CPyTagged _largest_bytes;
    char _is_tagged;
    char _asks_when_unsure;
    char _is_refreshed_on_change;
    PyObject *_counts;
    PyObject *_refused;
    CPyTagged _hits;
    PyObject *_early_links;
    PyObject *__origins;
    PyObject *__origins_secure;
} poruwa___gateway___cache_rules___CacheRuleObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    char _is_anonymous;
    double _disconnected_seconds;
    PyObject *_name;
    CPyTagged _largest_bytes;
    char _is_tagged;
    char _asks_when_unsure;
    char _is_refreshed_on_change;
    PyObject *_counts;
    PyObject *_refused;
    CPyTagged _hits;
    PyObject *_early_links;
    PyObject *__origins;
    PyObject *__origins_secure;
} poruwa___gateway___cache_rules___FollowOriginObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    char _is_anonymous;
    double _disconnected_seconds;
    PyObject *_name;
    CPyTagged _largest_bytes;
    char _is_tagged;
    char _asks_when_unsure;
    char _is_refreshed_on_change;
    PyObject *_counts;
    PyObject *_refused;
    CPyTagged _hits;
    PyObject *_early_links;
    PyObject *__origins;
    PyObject *__origins_secure;
    PyObject *__dimensions;
    PyObject *__query_names;
    PyObject *__varies_on;
    double __lifetime;
    double __stale_while_revalidate;
    double __stale_if_error;
    PyObject *__tags;
    PyObject *__path;
    PyObject *__client_lines;
} poruwa___gateway___cache_rules___CacheClassObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__values;
    PyObject *__by_value;
    PyObject *__default;
    PyObject *_query;
    PyObject *__cookie;
    PyObject *_header;
    char __is_language;
} poruwa___gateway___cache_rules___RequestDimensionObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_address;
    PyObject *_outbox;
    PyObject *_loop;
    CPyTagged _limit;
    double _connect_seconds;
    double _idle_seconds;
    PyObject *_idle;
    char _is_retired;
    CPyTagged __head_limit_bytes;
    PyObject *__open;
    PyObject *__waiting;
    PyObject *__connecting;
} poruwa___gateway___connections___InstanceConnectionsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t mypyc_running;
    PyObject *___mypyc_generator_frame_attribute__self;
    PyObject *___mypyc_generator_frame_attribute__receiver;
    int32_t ___mypyc_next_label__;
    char ___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_0;
    PyObject *___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_1;
    PyObject *___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_2;
    PyObject *___mypyc_generator_frame_attribute__connection;
    tuple_T3OOO ___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_4;
    PyObject *___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_5;
    tuple_T3OOO ___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_6;
    PyObject *___mypyc_temp__3_poruwa___gateway___connections____connect_InstanceConnections_gen_7;
    PyObject *___mypyc_temp__2_poruwa___gateway___connections____connect_InstanceConnections_gen_0;
    PyObject *___mypyc_temp__2_poruwa___gateway___connections____connect_InstanceConnections_gen_1;
} poruwa___gateway___connections____connect_InstanceConnections_genObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *___mypyc_self__;
    PyObject *___mypyc_generator_attribute__protocol;
} poruwa___gateway___connections____open_connection_InstanceConnections_envObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t mypyc_running;
    PyObject *___mypyc_env__;
    PyObject *___mypyc_generator_frame_attribute__self;
    int32_t ___mypyc_next_label__;
    PyObject *___mypyc_generator_frame_attribute__connection;
    PyObject *___mypyc_temp__3_poruwa___gateway___connections____open_connection_InstanceConnections_gen_1;
    PyObject *___mypyc_temp__3_poruwa___gateway___connections____open_connection_InstanceConnections_gen_2;
} poruwa___gateway___connections____open_connection_InstanceConnections_genObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___gateway___connections_____mypyc_lambda__0__open_connection_InstanceConnections_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___gateway___connections_____mypyc_lambda__1__open_connection_InstanceConnections_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__gateway;
    PyObject *__cache;
    PyObject *__pending;
} poruwa___gateway___encodings___EncodingsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t mypyc_running;
    PyObject *___mypyc_generator_frame_attribute__self;
    PyObject *___mypyc_generator_frame_attribute__entry;
    PyObject *___mypyc_generator_frame_attribute__key;
    PyObject *___mypyc_generator_frame_attribute__coding;
    PyObject *___mypyc_generator_frame_attribute__rule;
    int32_t ___mypyc_next_label__;
    PyObject *___mypyc_temp__3_poruwa___gateway___encodings____make_Encodings_gen_0;
} poruwa___gateway___encodings____make_Encodings_genObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
} poruwa___gateway___exchange___SenderObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_pool;
    PyObject *_gateway;
    PyObject *_client;
    PyObject *_head;
    CPyTagged _framing;
    PyObject *_method;
    PyObject *_target;
    PyObject *_path;
    PyObject *_route;
    double _started_at;
    double _hit_at;
    double _ended_at;
    PyObject *_nominated;
    char _keep_alive;
    char _is_upgrade;
    PyObject *_client_address;
    char _is_secure;
    PyObject *_observer;
    PyObject *_forwarding;
    PyObject *_identity;
    PyObject *_response_lines;
    PyObject *_request_id;
    CPyTagged _status;
    CPyTagged _bytes_in;
    CPyTagged _bytes_out;
    CPyTagged _tries;
    char _response_begun;
    PyObject *_instance;
    PyObject *_bound;
    char _failover_allowed;
    char _is_safe;
    PyObject *_balancing_key;
    PyObject *_attempt;
    PyObject *_attempts;
    PyObject *__others;
    char _is_status_retried;
    PyObject *__pause;
    double _queued_seconds;
    double __queued_at;
    PyObject *__waiting_in;
    double __wait_until;
    PyObject *__sender;
    PyObject *__body;
    CPyTagged __body_bytes;
    char __body_complete;
    char __chunked_to_client;
    char __close_delimited;
    char __client_blocked;
    char __upstream_blocked;
} poruwa___gateway___exchange___ExchangeObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_transport;
    char _is_trusted;
    PyObject *_gateway;
    char _is_tls;
    CPyTagged _listener_port;
    PyObject *_peer_host;
    CPyTagged _phase;
    PyObject *_exchange;
    PyObject *_forwarding;
    PyObject *_forwarding_host;
    PyObject *_spoken;
    CPyTagged _requests;
    char _eof;
    double _deadline;
    PyObject *__buffer;
    CPyTagged __body_left;
    PyObject *__decoder;
    CPyTagged __lingered_bytes;
    char __reading_paused;
    char __writing_paused;
    PyObject *_fill;
} poruwa___gateway___fill___FillClientObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_pool;
    PyObject *_gateway;
    PyObject *_client;
    PyObject *_head;
    CPyTagged _framing;
    PyObject *_method;
    PyObject *_target;
    PyObject *_path;
    PyObject *_route;
    double _started_at;
    double _hit_at;
    double _ended_at;
    PyObject *_nominated;
    char _keep_alive;
    char _is_upgrade;
    PyObject *_client_address;
    char _is_secure;
    PyObject *_observer;
    PyObject *_forwarding;
    PyObject *_identity;
    PyObject *_response_lines;
    PyObject *_request_id;
    CPyTagged _status;
    CPyTagged _bytes_in;
    CPyTagged _bytes_out;
    CPyTagged _tries;
    char _response_begun;
    PyObject *_instance;
    PyObject *_bound;
    char _failover_allowed;
    char _is_safe;
    PyObject *_balancing_key;
    PyObject *_attempt;
    PyObject *_attempts;
    PyObject *__others;
    char _is_status_retried;
    PyObject *__pause;
    double _queued_seconds;
    double __queued_at;
    PyObject *__waiting_in;
    double __wait_until;
    PyObject *__sender;
    PyObject *__body;
    CPyTagged __body_bytes;
    char __body_complete;
    char __chunked_to_client;
    char __close_delimited;
    char __client_blocked;
    char __upstream_blocked;
    PyObject *_fill;
} poruwa___gateway___fill___FillExchangeObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_fill;
    PyObject *_exchange;
    PyObject *_plan;
    CPyTagged _position;
    char _has_begun;
    char _is_writable;
} poruwa___gateway___fill___StreamReaderObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_request;
    CPyTagged _begun_position;
    CPyTagged _log_as_of;
    CPyTagged _asked_position;
    PyObject *__cache;
    PyObject *_plan;
    PyObject *_stored;
    double _asked_at;
    CPyTagged _as_of;
    char _is_unsure;
    char _is_bypass;
    char _is_listed;
    char _asks_whole;
    CPyTagged _began_at;
    CPyTagged _claim;
    PyObject *_source;
    PyObject *_lending;
    PyObject *_tags;
    char _is_stored;
    PyObject *__readers;
    PyObject *__pieces;
    CPyTagged __dropped;
    CPyTagged __bytes;
    char __has_head;
    char __is_complete;
    char __is_held;
    PyObject *__entry;
    PyObject *__fetch;
    CPyTagged __asked_status;
    CPyTagged __status;
    PyObject *__status_text;
    PyObject *__block;
    PyObject *__age_line;
    CPyTagged __length;
} poruwa___gateway___fill___FillObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged __fd;
    PyObject *__words;
    CPyTagged __base;
    PyObject *__key;
} poruwa___gateway___fill_table___FillTableObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_loop;
    PyObject *_loop_time;
    PyObject *_wall_time;
    PyObject *_outbox;
    PyObject *_row;
    PyObject *_limits;
    PyObject *_timeouts;
    CPyTagged _replay_body_bytes;
    double _queue_seconds;
    CPyTagged _tries;
    char _retries_once;
    PyObject *_retry_statuses;
    PyObject *_trusted;
    PyObject *_metrics;
    PyObject *_counts;
    PyObject *_random;
    PyObject *_new_request_id;
    PyObject *_access_log;
    char _is_draining;
    double _now;
    CPyTagged _requests;
    PyObject *_pools;
    PyObject *_routes;
    PyObject *_no_route;
    PyObject *_connections;
    PyObject *_fetching;
    PyObject *_machine_secret;
    PyObject *_read_your_writes;
    PyObject *_cache;
    PyObject *_siblings;
    PyObject *_collector;
    PyObject *_publish;
    PyObject *__per_client;
    PyObject *_retry_budget;
    PyObject *_timing_key;
    PyObject *_late_tries;
    PyObject *__log_clock;
    CPyTagged __dropped_lines;
    CPyTagged __date_second;
    PyObject *__date;
    PyObject *__sweep_handle;
} poruwa___gateway___gateway___GatewayObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__gateway;
    PyObject *__loop;
    char __is_enabled;
    PyObject *__budget;
    PyObject *__launched;
    PyObject *__watched;
    char __is_ticking;
    PyObject *__slow_paths;
} poruwa___gateway___late_tries___LateTriesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_transport;
    char _is_trusted;
    PyObject *_gateway;
    char _is_tls;
    CPyTagged _listener_port;
    PyObject *_peer_host;
    CPyTagged _phase;
    PyObject *_exchange;
    PyObject *_forwarding;
    PyObject *_forwarding_host;
    PyObject *_spoken;
    CPyTagged _requests;
    char _eof;
    double _deadline;
    PyObject *__buffer;
    CPyTagged __body_left;
    PyObject *__decoder;
    CPyTagged __lingered_bytes;
    char __reading_paused;
    char __writing_paused;
} poruwa___gateway___listener___ClientConnectionObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_loop;
    PyObject *__to_instances;
    PyObject *__to_clients;
    char __is_scheduled;
    CPyTagged __seen;
} poruwa___gateway___outbox___OutboxObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_transport;
    char _is_trusted;
    PyObject *_gateway;
    char _is_tls;
    CPyTagged _listener_port;
    PyObject *_peer_host;
    CPyTagged _phase;
    PyObject *_exchange;
    PyObject *_forwarding;
    PyObject *_forwarding_host;
    PyObject *_spoken;
    CPyTagged _requests;
    char _eof;
    double _deadline;
    PyObject *__buffer;
    CPyTagged __body_left;
    PyObject *__decoder;
    CPyTagged __lingered_bytes;
    char __reading_paused;
    char __writing_paused;
} poruwa___gateway___own_request___NoClientObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    PyObject *_key;
    CPyTagged _size;
    PyObject *_tags;
    double _expires_at;
    char _alive;
    CPyTagged _frequency;
    CPyTagged _queue;
    PyObject *_older;
    PyObject *_newer;
    PyObject *_facts;
    PyObject *_primary;
    CPyTagged _status;
    PyObject *_status_text;
    PyObject *_block;
    PyObject *_body;
    PyObject *_vary;
    CPyTagged _as_of;
    CPyTagged _log_as_of;
    CPyTagged _began_at;
    PyObject *_etag;
    char _is_compressible;
    PyObject *_last_modified_text;
    PyObject *_last_modified;
    CPyTagged _date;
    double __second;
    PyObject *__second_lines;
    PyObject *_segments;
    PyObject *_asked;
    CPyTagged _asked_start;
    CPyTagged _asked_end;
    PyObject *_content_range;
} poruwa___gateway___parts___StoredPartObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_request;
    CPyTagged _begun_position;
    CPyTagged _log_as_of;
    CPyTagged _asked_position;
    PyObject *__cache;
    PyObject *_plan;
    PyObject *_stored;
    double _asked_at;
    CPyTagged _as_of;
    char _is_unsure;
    char _is_bypass;
    char _is_listed;
    char _asks_whole;
    CPyTagged _began_at;
    CPyTagged _claim;
    PyObject *_source;
    PyObject *_lending;
    PyObject *_tags;
    char _is_stored;
    PyObject *__readers;
    PyObject *__pieces;
    CPyTagged __dropped;
    CPyTagged __bytes;
    char __has_head;
    char __is_complete;
    char __is_held;
    PyObject *__entry;
    PyObject *__fetch;
    CPyTagged __asked_status;
    CPyTagged __status;
    PyObject *__status_text;
    PyObject *__block;
    PyObject *__age_line;
    CPyTagged __length;
    PyObject *__content_range;
} poruwa___gateway___parts___PartFillObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_request;
    CPyTagged _begun_position;
    CPyTagged _log_as_of;
    CPyTagged _asked_position;
    PyObject *__cache;
    PyObject *_plan;
    PyObject *_stored;
    double _asked_at;
    CPyTagged _as_of;
    char _is_unsure;
    char _is_bypass;
    char _is_listed;
    char _asks_whole;
    CPyTagged _began_at;
    CPyTagged _claim;
    PyObject *_source;
    PyObject *_lending;
    PyObject *_tags;
    char _is_stored;
    PyObject *__readers;
    PyObject *__pieces;
    CPyTagged __dropped;
    CPyTagged __bytes;
    char __has_head;
    char __is_complete;
    char __is_held;
    PyObject *__entry;
    PyObject *__fetch;
    CPyTagged __asked_status;
    CPyTagged __status;
    PyObject *__status_text;
    PyObject *__block;
    PyObject *__age_line;
    CPyTagged __length;
    PyObject *__held;
} poruwa___gateway___parts___RestFillObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__cache;
    PyObject *__loop;
    PyObject *__under_way;
} poruwa___gateway___past_fetches___PastFetchesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_fill;
    PyObject *_waiting;
    PyObject *_timer;
} poruwa___gateway___past_fetches___PastFetchObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_exchange;
    PyObject *_plan;
    PyObject *_queue;
} poruwa___gateway___past_fetches___PastWaiterObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_name;
    PyObject *_module;
    PyObject *_does;
    PyObject *_run;
    char _built;
} poruwa___gateway___pipeline___StageObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    PyObject *_name;
    PyObject *_pool;
    char _affinity;
    CPyTagged _body_bytes;
    double _first_byte_seconds;
    PyObject *_cors;
    PyObject *_static;
    PyObject *_cache_rule;
    PyObject *_client_control;
    PyObject *_redirect;
    PyObject *_rewrite;
    PyObject *_latency;
    char _has_learned;
    double _hedge_seconds;
    double _try_seconds;
} poruwa___gateway___routes___GatewayRouteObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__hedge;
    PyObject *__table;
    PyObject *__routes;
    PyObject *__canonical;
} poruwa___gateway___routes___GatewayRoutesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_names;
    PyObject *_slots;
    PyObject *__shared;
    PyObject *__method;
    char __is_plain;
    char __is_peak_ewma;
    CPyTagged __max_in_flight;
    CPyTagged __turn;
    PyObject *__avoid_until;
    double __avoiding_until;
    PyObject *__weights;
    PyObject *__slowness;
    PyObject *__ratios;
    PyObject *__capacities;
    PyObject *__peaks;
    PyObject *__peaks_at;
    PyObject *__rings;
    CPyTagged __verdict_version;
    PyObject *__best;
    PyObject *__best_weights;
    PyObject *__loads_span;
    char __is_degraded;
    PyObject *__probing;
    double __probing_since;
} poruwa___gateway___selection___SelectorObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_state;
    CPyTagged _weight;
    CPyTagged _slowness;
    CPyTagged _ratio;
    CPyTagged _capacity;
} poruwa___gateway___shared_state___VerdictObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _answered;
    CPyTagged _failed;
    CPyTagged _latency_micros;
    CPyTagged _in_a_row;
} poruwa___gateway___shared_state___SlotCountsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    CPyTagged _index;
    CPyTagged _pid;
    CPyTagged _generation;
    double _heartbeat_at;
    CPyTagged _connections;
    CPyTagged _requests;
    char _is_draining;
} poruwa___gateway___shared_state___WorkerViewObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _fd;
    PyObject *__memory;
    PyObject *_words;
    CPyTagged _max_workers;
    CPyTagged _max_instances;
    CPyTagged __slot_base;
    CPyTagged __in_flight_base;
    CPyTagged __outcome_base;
    CPyTagged _fill_base;
} poruwa___gateway___shared_state___SharedStateObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _index;
    PyObject *__words;
    CPyTagged __facts;
    CPyTagged __in_flight;
    CPyTagged __outcomes;
    CPyTagged __stride;
} poruwa___gateway___shared_state___WorkerRowObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    PyObject *_key;
    CPyTagged _size;
    PyObject *_tags;
    double _expires_at;
    char _alive;
    CPyTagged _frequency;
    CPyTagged _queue;
    PyObject *_older;
    PyObject *_newer;
    PyObject *_facts;
    PyObject *_primary;
    CPyTagged _status;
    PyObject *_status_text;
    PyObject *_block;
    PyObject *_body;
    PyObject *_vary;
    CPyTagged _as_of;
    CPyTagged _log_as_of;
    CPyTagged _began_at;
    PyObject *_etag;
    char _is_compressible;
    PyObject *_last_modified_text;
    PyObject *_last_modified;
    CPyTagged _date;
    double __second;
    PyObject *__second_lines;
} poruwa___gateway___stored___StoredResponseObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    PyObject *_key;
    CPyTagged _size;
    PyObject *_tags;
    double _expires_at;
    char _alive;
    CPyTagged _frequency;
    CPyTagged _queue;
    PyObject *_older;
    PyObject *_newer;
    PyObject *_facts;
    PyObject *_primary;
    CPyTagged _status;
    PyObject *_status_text;
    PyObject *_block;
    PyObject *_body;
    PyObject *_vary;
    CPyTagged _as_of;
    CPyTagged _log_as_of;
    CPyTagged _began_at;
    PyObject *_etag;
    char _is_compressible;
    PyObject *_last_modified_text;
    PyObject *_last_modified;
    CPyTagged _date;
    double __second;
    PyObject *__second_lines;
    PyObject *_base;
} poruwa___gateway___stored___EncodedResponseObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_names;
    PyObject *_keys;
} poruwa___gateway___stored___VariantsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
} poruwa___gateway___upstream___ResponseReceiverObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_transport;
    PyObject *_owner;
    CPyTagged __head_limit_bytes;
    PyObject *__receiver;
    PyObject *__buffer;
    PyObject *__decoder;
    CPyTagged __remaining;
    CPyTagged _stage;
    char _is_reusable;
    char _is_reading_paused;
    char _received_any;
    CPyTagged _requests;
    double _idle_since;
} poruwa___gateway___upstream___UpstreamConnectionObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_names;
    PyObject *_first;
    PyObject *_following;
    PyObject *_numbers;
} poruwa___net___head___FieldNamesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_raw;
    CPyTagged _minor_version;
    CPyTagged _block_start;
    CPyTagged _line_count;
    PyObject *_host_field;
    PyObject *_connection;
    PyObject *_content_length;
    PyObject *_transfer_encoding;
    PyObject *_expect;
    PyObject *_traceparent;
    PyObject *_date;
    PyObject *_timing;
    PyObject *_user_agent;
    PyObject *_referer;
    PyObject *_accept_encoding;
    PyObject *_accept_language;
    PyObject *_if_none_match;
    PyObject *__fields;
    PyObject *__cuts;
    int64_t __block_end;
    int64_t __seen;
    char __is_repeated;
} poruwa___net___head___HeadObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
} poruwa___net___http1___RefusedObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_raw;
    CPyTagged _minor_version;
    CPyTagged _block_start;
    CPyTagged _line_count;
    PyObject *_host_field;
    PyObject *_connection;
    PyObject *_content_length;
    PyObject *_transfer_encoding;
    PyObject *_expect;
    PyObject *_traceparent;
    PyObject *_date;
    PyObject *_timing;
    PyObject *_user_agent;
    PyObject *_referer;
    PyObject *_accept_encoding;
    PyObject *_accept_language;
    PyObject *_if_none_match;
    PyObject *__fields;
    PyObject *__cuts;
    int64_t __block_end;
    int64_t __seen;
    char __is_repeated;
    PyObject *_method;
    PyObject *_target;
    PyObject *_plain_path;
    PyObject *_host;
} poruwa___net___http1___RequestHeadObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_raw;
    CPyTagged _minor_version;
    CPyTagged _block_start;
    CPyTagged _line_count;
    PyObject *_host_field;
    PyObject *_connection;
    PyObject *_content_length;
    PyObject *_transfer_encoding;
    PyObject *_expect;
    PyObject *_traceparent;
    PyObject *_date;
    PyObject *_timing;
    PyObject *_user_agent;
    PyObject *_referer;
    PyObject *_accept_encoding;
    PyObject *_accept_language;
    PyObject *_if_none_match;
    PyObject *__fields;
    PyObject *__cuts;
    int64_t __block_end;
    int64_t __seen;
    char __is_repeated;
    CPyTagged _status;
    PyObject *_status_text;
} poruwa___net___http1___ResponseHeadObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__buffer;
    CPyTagged __at;
    CPyTagged __remaining;
    PyObject *__stage;
    char _is_complete;
    PyObject *_rest;
} poruwa___net___http1___ChunkedDecoderObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged __second;
    PyObject *__prefix;
    double __begin;
    double __end;
    PyObject *__text;
} poruwa___observe___access_line___LineClockObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__agent;
    PyObject *__agent_text;
    PyObject *__referer;
    PyObject *__referer_text;
} poruwa___observe___access_line___SpokenFieldsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__path;
    PyObject *__buffer;
    CPyTagged __size;
    double __first_at;
    CPyTagged __file;
    PyObject *__pending;
    CPyTagged __queued_bytes;
    CPyTagged __written_bytes;
    PyObject *__wake;
    char __is_closing;
    PyObject *__writer;
    CPyTagged _dropped_lines;
    PyObject *_failure;
} poruwa___observe___access_log___AccessLogObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _shortest;
    PyObject *_buckets;
    double _seconds;
    CPyTagged _bytes_in;
    CPyTagged _bytes_out;
} poruwa___observe___response_counts___ResponseRowObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__rows;
    PyObject *__routes;
    PyObject *__instances;
    PyObject *__route;
    CPyTagged __status;
    PyObject *__instance;
    PyObject *__row;
} poruwa___observe___response_counts___ResponseCountsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_points;
    PyObject *_owners;
    PyObject *_weights;
} poruwa___rules___balancing___HashRingObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
} poruwa___rules___cache_class___is_personal_ClassDecision_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    char _no_store;
    char _no_cache;
    PyObject *_no_cache_fields;
    char _private;
    PyObject *_private_fields;
    char _public;
    char _must_revalidate;
    char _proxy_revalidate;
    char _must_understand;
    char _no_transform;
    char _immutable;
    char _only_if_cached;
    PyObject *_max_age;
    PyObject *_s_maxage;
    PyObject *_min_fresh;
    PyObject *_max_stale;
    PyObject *_stale_while_revalidate;
    PyObject *_stale_if_error;
} poruwa___rules___cache_control___DirectivesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _position;
    CPyTagged __remembered;
    PyObject *__last;
    PyObject *__patterns;
    CPyTagged __all_before;
    CPyTagged __quiet_from;
} poruwa___rules___changes___ChangesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _size;
    PyObject *_etag;
    PyObject *_last_modified;
    PyObject *_date;
} poruwa___rules___conditional___RepresentationObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _status;
    CPyTagged _start;
    CPyTagged _end;
} poruwa___rules___conditional___SelectionObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _limit;
    CPyTagged __length;
    PyObject *__lines;
    PyObject *__by_length;
    CPyTagged __longest;
} poruwa___rules___fair_queue___FairQueueObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_directives;
    char _targeted;
} poruwa___rules___freshness___ResponseControlObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    double _born_at;
    double _lifetime_seconds;
    PyObject *_lifetime_source;
    char _must_revalidate;
    char _no_cache;
    char _immutable;
    double _stale_while_revalidate_seconds;
    PyObject *_stale_if_error_seconds;
} poruwa___rules___freshness___StoredFactsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_action;
    PyObject *_reason;
} poruwa___rules___freshness___ReuseObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
} poruwa___rules___latency___HedgeSettingsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    double _hedge_seconds;
    double _try_seconds;
} poruwa___rules___latency___PatienceObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__counts;
    double __at;
} poruwa___rules___latency___LatencyHistogramObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
} poruwa___rules___message___code_RefusalReason_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
} poruwa___rules___message___status_RefusalReason_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
} poruwa___rules___message___sentence_RefusalReason_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    double __share;
    double __minimum;
    double __tokens;
    double __at;
} poruwa___rules___retry___RetryBudgetObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
} poruwa___rules___retry___is_retry_RetryDecision_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
} poruwa___rules___routing___RoutePatternObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__paths;
    PyObject *__by_host;
    PyObject *__by_suffix;
    PyObject *__any_host;
} poruwa___rules___routing___RouteTableObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_literal;
    CPyTagged _segments;
    char _has_names;
    char _is_prefix;
    PyObject *_rank;
    PyObject *_expression;
    PyObject *_parts;
} poruwa___rules___routing____PathObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_by_method;
    PyObject *_any_method;
} poruwa___rules___routing____ChoicesObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *_exact;
    PyObject *_named;
    PyObject *_prefixes;
    PyObject *_named_prefixes;
    CPyTagged _deepest;
} poruwa___rules___routing____PathTableObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t mypyc_running;
    PyObject *___mypyc_generator_frame_attribute__self;
    PyObject *___mypyc_generator_frame_attribute__hosts;
    int32_t ___mypyc_next_label__;
    int64_t ___mypyc_temp__3_poruwa___rules___routing____tables_of_RouteTable_gen_0;
    PyObject *___mypyc_temp__2_poruwa___rules___routing____tables_of_RouteTable_gen_0;
    int64_t ___mypyc_temp__2_poruwa___rules___routing____tables_of_RouteTable_gen_1;
} poruwa___rules___routing____tables_of_RouteTable_genObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t mypyc_running;
    PyObject *___mypyc_generator_frame_attribute__self;
    PyObject *___mypyc_generator_frame_attribute__host;
    int32_t ___mypyc_next_label__;
    PyObject *___mypyc_generator_frame_attribute__name;
    CPyTagged ___mypyc_generator_frame_attribute__at;
} poruwa___rules___routing____host_tables_RouteTable_genObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *___mypyc_self__;
    PyObject *_parameters;
} poruwa___rules___routing___expand_rewrite_envObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___rules___routing_____mypyc_lambda__0_expand_rewrite_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *___mypyc_self__;
} poruwa___rules___routing____choices_of_envObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___rules___routing_____mypyc_lambda__1__choices_of_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__entropy;
    PyObject *__pool;
    CPyTagged __at;
    PyObject *__ids;
    CPyTagged __ids_at;
} poruwa___rules___trace___RandomIdsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *___mypyc_self__;
    PyObject *_weights;
} poruwa___rules___vary____sorted_envObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___rules___vary_____mypyc_lambda__0__sorted_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    PyObject *_key;
    CPyTagged _size;
    PyObject *_tags;
    double _expires_at;
    char _alive;
    CPyTagged _frequency;
    CPyTagged _queue;
    PyObject *_older;
    PyObject *_newer;
} poruwa___stores___entry___EntryObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *___mypyc_self__;
} poruwa___stores___entry___mypyc_attr_envObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    vectorcallfunc vectorcall;
    PyObject *___mypyc_env__;
} poruwa___stores___entry_____mypyc_lambda__0_mypyc_attr_objObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__table;
    CPyTagged __buckets;
    CPyTagged __added;
    CPyTagged __limit;
} poruwa___stores___ghosts___GhostsObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t bitmap;
    CPyTagged _capacity;
    CPyTagged __small_most;
    CPyTagged __small_least;
    CPyTagged __small_capacity;
    CPyTagged _largest;
    CPyTagged __promotion_threshold;
    PyObject *_on_evict;
    CPyTagged _bytes;
    CPyTagged _evictions;
    CPyTagged _evicted_bytes;
    PyObject *__index;
    PyObject *__small;
    PyObject *__main;
    PyObject *__ghosts;
    double __asks;
} poruwa___stores___s3fifo___S3FifoObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    CPyTagged _number;
    CPyTagged _bytes;
    CPyTagged _count;
    PyObject *_oldest;
    PyObject *_newest;
} poruwa___stores___s3fifo___EntryQueueObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    uint32_t mypyc_running;
    PyObject *___mypyc_generator_frame_attribute__self;
    PyObject *___mypyc_generator_frame_attribute__keys;
    int32_t ___mypyc_next_label__;
    int64_t ___mypyc_temp__3_poruwa___stores___s3fifo____live_of_S3Fifo_gen_0;
    PyObject *___mypyc_temp__2_poruwa___stores___s3fifo____live_of_S3Fifo_gen_0;
} poruwa___stores___s3fifo____live_of_S3Fifo_genObject;

typedef struct {
    PyObject_HEAD
    CPyVTableItem *vtable;
    PyObject *__release;
    PyObject *__by_tag;
    PyObject *__killed;
} poruwa___stores___tag_index___TagIndexObject;

#endif

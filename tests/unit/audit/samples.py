"""What the tools really print, shortened: Lynis 3.0.8, systemd 252, testssl.sh 3.0.8, ss, nft 1.0.6, Redis 7.0, ps."""

LYNIS = """\
# Lynis Report
report_version_major=1
lynis_version=3.0.8
os_fullname=Debian GNU/Linux 12 (bookworm)
suggestion[]=DEB-0280|Install libpam-tmpdir to set $TMP and $TMPDIR for PAM sessions|-|-|
suggestion[]=SSH-7408|Consider hardening SSH configuration|AllowTcpForwarding (set YES to NO)|-|
details[]=SSH-7408|sshd|desc:sshd option AllowTcpForwarding;field:AllowTcpForwarding;prefval:NO;value:YES;|
suggestion[]=SSH-7408|Consider hardening SSH configuration|Compression (set YES to NO)|-|
warning[]=PKGS-7392|Found one or more vulnerable packages.|-|-|
lynis_tests_done=237
hardening_index=59
finish=true
"""

OVERVIEW = (
    '[{"unit":"celery-beat.service","exposure":"1.5","predicate":"OK","happy":"🙂"},'
    '{"unit":"dbus.service","exposure":"9.6","predicate":"UNSAFE","happy":"😨"},'
    '{"unit":"nginx.service","exposure":"2.7","predicate":"OK","happy":"🙂"},'
    '{"unit":"redis-server.service","exposure":"1.1","predicate":"OK","happy":"🙂"}]\n'
)

OFFLINE = """\
→ Overall exposure level for before-celery-worker@default.service: 9.2 UNSAFE 😨
→ Overall exposure level for before-nginx.service: 9.6 UNSAFE 😨
"""

FRAGMENTS = """\
Id=redis-server.service
FragmentPath=/lib/systemd/system/redis-server.service

Id=celery-worker@default.service
FragmentPath=/etc/systemd/system/celery-worker@.service
"""

# testssl.sh writes it while it works: cut off, the last brackets are missing.
TESTSSL = """\
[
         {
              "id"           : "service",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "DEBUG",
              "finding"      : "Couldn't determine service, skipping all HTTP checks"
          }
,         {
              "id"           : "SSLv3",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "OK",
              "finding"      : "not offered"
          }
,         {
              "id"           : "TLS1",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "INFO",
              "finding"      : "not offered"
          }
,         {
              "id"           : "TLS1_2",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "OK",
              "finding"      : "offered"
          }
,         {
              "id"           : "TLS1_3",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "OK",
              "finding"      : "offered with final"
          }
,         {
              "id"           : "cipher_order",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "HIGH",
              "finding"      : "NOT a cipher order configured"
          }
,         {
              "id"           : "scanTime",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "INFO",
              "finding"      : "87"
          }
]
"""

UNREACHABLE = """\
[
         {
              "id"           : "scanProblem",
              "ip"           : "10.214.5.11/10.214.5.11",
              "port"         : "6380",
              "severity"     : "FATAL",
              "finding"      : "Can't connect to '10.214.5.11:6380'"
          }
]
"""

SOCKETS = """\
udp UNCONN 0      0              127.0.0.1:323        0.0.0.0:*
udp UNCONN 0      0       10.214.5.11%eth0:68         0.0.0.0:*
tcp LISTEN 0      4096           127.0.0.1:9090       0.0.0.0:*
tcp LISTEN 0      4096       127.0.0.53%lo:53         0.0.0.0:*
tcp LISTEN 0      128              0.0.0.0:22         0.0.0.0:*
tcp LISTEN 0      511          10.214.5.11:6380       0.0.0.0:*
tcp LISTEN 0      511                [::1]:6380          [::]:*
tcp LISTEN 0      4096  [::ffff:127.0.0.1]:9000             *:*
tcp LISTEN 0      4096                   *:443              *:*
"""

FIREWALL = """\
{"nftables": [{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}},
{"table": {"family": "inet", "name": "celery_fleet", "handle": 6}},
{"chain": {"family": "inet", "table": "celery_fleet", "name": "input", "handle": 1, "type": "filter", "hook": "input",
 "prio": 0, "policy": "drop"}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 2, "expr": [
 {"match": {"op": "==", "left": {"meta": {"key": "iif"}}, "right": "lo"}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 4, "expr": [
 {"match": {"op": "!=", "left": {"&": [{"payload": {"protocol": "tcp", "field": "flags"}}, ["syn", "ack"]]}, "right": "syn"}},
 {"accept": null}]}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 9, "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "sport"}}, "right": 67}},
 {"match": {"op": "==", "left": {"payload": {"protocol": "udp", "field": "dport"}}, "right": 68}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 11, "comment": "ssh", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": 22}},
 {"counter": {"packets": 9, "bytes": 540}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 14, "comment": "Redis", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "ip", "field": "saddr"}},
  "right": {"set": ["10.214.5.1", "10.214.5.11"]}}},
 {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [6379, 6380]}}},
 {"counter": {"packets": 3, "bytes": 180}}, {"accept": null}]}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 16, "comment": "pages", "expr": [
 {"match": {"op": "==", "left": {"payload": {"protocol": "tcp", "field": "dport"}}, "right": {"set": [{"range": [440, 450]}]}}},
 {"accept": null}]}},
{"rule": {"family": "inet", "table": "celery_fleet", "chain": "input", "handle": 17, "comment": "everything else", "expr": [
 {"counter": {"packets": 0, "bytes": 0}}, {"drop": null}]}}]}
"""

REDIS_USERS = """\
user admin on sanitize-payload #5721 ~* &* +@all
user default off sanitize-payload ~* &* +@all
user worker on sanitize-payload #fb2c resetchannels ~celery* -@all +get
"""

PROCESSES = """\
    0 systemd         init.scope
  100 dbus-daemon     dbus.service
    0 sshd            ssh.service
  105 redis-server    redis-server.service
    0 nginx           nginx.service
   33 nginx           nginx.service
   33 nginx           nginx.service
    0 (exporter)      prometheus-redis-exporter.service
    0 kworker/0:1 ev  -
  998 celery          celery-worker@default.service
"""

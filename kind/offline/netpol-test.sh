#!/usr/bin/env bash
# Tests NetworkPolicy in a running kind cluster of the offline node image, flow by flow: netpol-test.sh [cluster].
# About 3 minutes. Needs docker, and the tools and images of `make offline-images`. Leaves nothing behind.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../../images/offline/versions.env"
export PATH=$here/../../.tools/bin:$PATH
cluster=${1:-kind} image=$PYTHON_IMAGE
work=$(mktemp -d); export KUBECONFIG=$work/kubeconfig
passed=0 failed=0 outside=netpol-outside-$$
cleanup() { docker rm -f "$outside" >/dev/null 2>&1; kubectl delete ns -l netpol-test >/dev/null 2>&1; rm -rf "$work"; }
trap cleanup EXIT
kind get kubeconfig --name "$cluster" >"$KUBECONFIG"
node=$cluster-control-plane
node_ip=$(kubectl get node "$node" -o jsonpath='{.status.addresses[?(@.type=="InternalIP")].address}')

check() { # expected, got, what
  if [ "$1" = "$2" ]; then passed=$((passed + 1)); echo "ok    $3: $2"; else failed=$((failed + 1)); echo "FAIL  $3: $2, not $1"; fi; }

cat >"$work/serve.py" <<'P'
import socket, threading
def tcp(port):
    s = socket.create_server(("", port))
    while True: s.accept()[0].close()
def udp(port):
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.bind(("", port))
    while True: s.sendto(*s.recvfrom(99))
for p in (8080, 8081, 9000, 9001, 9002, 9003, 5300): threading.Thread(target=tcp, args=(p,)).start()
udp(5300)
P
# Says open, timeout (what a policy's drop looks like), refused or nodns (what a DNS drop looks like).
cat >"$work/probe.py" <<'P'
import socket, sys, time
proto, host, port, wait = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4]) if len(sys.argv) > 4 else 1.5
try: address = socket.getaddrinfo(host, port, socket.AF_INET)[0][4]
except OSError: sys.exit(print("nodns"))
try:
    if proto == "tcp": socket.create_connection(address, wait)
    else:
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(wait); s.sendto(b"x", address); s.recv(99)
    print("open")
except TimeoutError: print("timeout")
except ConnectionRefusedError: print("refused")
P

pod() { # namespace, name, labels, [more spec]
  cat <<Y
---
apiVersion: v1
kind: Pod
metadata: {namespace: $1, name: $2, labels: {$3}}
spec:
  terminationGracePeriodSeconds: 0
  dnsConfig: {options: [{name: timeout, value: '1'}]}
  volumes: [{name: code, configMap: {name: code}}]
  containers:
  - name: c
    image: $image
    command: [python3, /code/serve.py]
    volumeMounts: [{name: code, mountPath: /code}]
    ports: [{name: web, containerPort: 8080}, {name: alt, containerPort: 9001}]
${4:-}
Y
}
ip() { kubectl -n "$1" get pod "$2" -o jsonpath='{.status.podIP}'; }
flow() { # expected, from namespace/pod (or outside), protocol, address, port, [what]
  local got
  if [ "$2" = outside ]; then got=$(docker exec "$outside" python3 /code/probe.py "$3" "$4" "$5") || got=error
  else got=$(kubectl -n "${2%/*}" exec "${2#*/}" -- python3 /code/probe.py "$3" "$4" "$5") || got=error; fi
  check "$1" "$got" "$2 -> $3 ${6:-$4}:$5"; }
policy() { # namespace, name, then the spec as one line of YAML; the policies of before are gone unless `also`
  if [ "${also:-}" ]; then also=; else kubectl delete netpol --all -n np-a >/dev/null; kubectl delete netpol --all -n np-b >/dev/null; fi
  printf 'apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {namespace: %s, name: %s}\nspec: %s\n' "$1" "$2" "$3" | kubectl apply -f - >/dev/null
  sleep 1; }
title() { echo; echo "# $*"; }

kind load docker-image --name "$cluster" "$image" >/dev/null 2>&1
docker run -d --rm --name "$outside" --network kind -v "$work:/code:ro" "$image" python3 /code/serve.py >/dev/null
out=$(docker inspect -f '{{.NetworkSettings.Networks.kind.IPAddress}}' "$outside")
for n in a b c; do
  kubectl create ns np-$n >/dev/null; kubectl label ns np-$n netpol-test=1 "side=$n" >/dev/null
  kubectl -n np-$n create configmap code --from-file="$work/serve.py" --from-file="$work/probe.py" >/dev/null
done
{ pod np-a web 'app: web'; pod np-a good 'app: client, role: good'; pod np-a other 'app: client'
  pod np-b web 'app: web'; pod np-b good 'app: client, role: good'; pod np-c other 'app: client'
  for n in a b; do cat <<Y
---
apiVersion: v1
kind: Service
metadata: {namespace: np-$n, name: web}
spec: {type: NodePort, selector: {app: web}, ports: [{name: p8080, port: 80, targetPort: web}, {name: p8081, port: 81, targetPort: 8081}]}
Y
  done; } | kubectl apply -f - >/dev/null
for n in a b c; do kubectl -n np-$n wait pod --all --for=condition=Ready --timeout=90s >/dev/null; done
A=$(ip np-a web) B=$(ip np-b web) C=$(ip np-c other) GOOD=$(ip np-a good)
nodeport=$(kubectl -n np-a get svc web -o jsonpath='{.spec.ports[0].nodePort}')

title no policy
flow open np-a/good tcp "$A" 8080 a/web
flow open np-c/other tcp "$A" 8081 a/web
flow open np-c/other udp "$A" 5300 a/web
flow open np-b/good tcp web.np-a 80
flow open outside tcp "$node_ip" "$nodeport" 'node, NodePort of a/web'
flow open np-a/good tcp "$out" 8080 outside
flow open np-a/good tcp "$node_ip" 6443 'node, API server'

title default deny ingress
policy np-a deny '{podSelector: {}, policyTypes: [Ingress]}'
flow timeout np-a/good tcp "$A" 8080 a/web
flow timeout np-b/good tcp "$A" 8080 a/web
flow timeout np-b/good udp "$A" 5300 a/web
flow timeout np-b/good tcp web.np-a 80
flow timeout outside tcp "$node_ip" "$nodeport" 'node, NodePort of a/web'
flow open np-a/good tcp "$B" 8080 'b/web (egress is free)'
flow open np-a/web tcp web.np-a 80 'itself, by web.np-a'
check open "$(docker exec "$node" timeout 3 bash -c "</dev/tcp/$A/8080" && echo open || echo closed)" 'the node -> a/web:8080'
pod np-a probed 'app: probed' '    readinessProbe: {tcpSocket: {port: web}, periodSeconds: 1, failureThreshold: 1}
    livenessProbe: {tcpSocket: {port: 8081}, periodSeconds: 1, failureThreshold: 1}' | kubectl apply -f - >/dev/null
check yes "$(kubectl -n np-a wait pod probed --for=condition=Ready --timeout=30s >/dev/null && echo yes || echo no)" 'kubelet probes make the pod ready'
sleep 4
check 'true 0' "$(kubectl -n np-a get pod probed -o jsonpath='{.status.containerStatuses[0].ready} {.status.containerStatuses[0].restartCount}')" 'kubelet probes still pass 4 s later'
flow timeout np-a/good tcp "$(ip np-a probed)" 8080 a/probed
kubectl -n np-a delete pod probed >/dev/null

title deletion restores
kubectl -n np-a delete netpol deny >/dev/null; sleep 1
flow open np-b/good tcp "$A" 8080 a/web
flow open np-b/good udp "$A" 5300 a/web

title podSelector
policy np-a sel '{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {role: good}}}]}]}'
flow open np-a/good tcp "$A" 8080 a/web
flow open np-a/good tcp web.np-a 80
flow timeout np-a/other tcp "$A" 8080 a/web
flow timeout np-b/good tcp "$A" 8080 'a/web (same label, other namespace)'
flow open np-b/good tcp "$GOOD" 8080 'a/good (not selected)'
kubectl -n np-a label pod other role=good >/dev/null; sleep 1
flow open np-a/other tcp "$A" 8080 'a/web (relabelled)'
kubectl -n np-a label pod other role- >/dev/null
policy np-a expr '{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, db]}]}, ingress: [{from: [{podSelector: {matchExpressions: [{key: role, operator: DoesNotExist}]}}]}]}'
flow open np-a/other tcp "$A" 8080 'a/web (role DoesNotExist)'
flow timeout np-a/good tcp "$A" 8080 'a/web (role DoesNotExist)'
policy np-a same '{podSelector: {}, ingress: [{from: [{podSelector: {}}]}]}'
flow open np-a/other tcp "$A" 8080 'a/web (any pod of the namespace)'
flow timeout np-c/other tcp "$A" 8080 'a/web (any pod of the namespace)'

title namespaceSelector
policy np-a ns '{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {side: b}}}]}]}'
flow open np-b/good tcp "$A" 8080 a/web
flow timeout np-c/other tcp "$A" 8080 a/web
flow timeout np-a/good tcp "$A" 8080 'a/web (own namespace not named)'
kubectl label ns np-c side=b --overwrite >/dev/null; sleep 1
flow open np-c/other tcp "$A" 8080 'a/web (namespace relabelled)'
kubectl label ns np-c side=c --overwrite >/dev/null
policy np-a both '{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: side, operator: NotIn, values: [c]}]}, podSelector: {matchLabels: {role: good}}}]}]}'
flow open np-b/good tcp "$A" 8080 'a/web (namespace and pod)'
flow timeout np-b/web tcp "$A" 8080 'a/web (namespace and pod)'
flow timeout np-c/other tcp "$A" 8080 'a/web (namespace and pod)'
policy np-a either '{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchLabels: {side: c}}}, {podSelector: {matchLabels: {role: good}}}]}]}'
flow open np-c/other tcp "$A" 8080 'a/web (namespace or pod)'
flow open np-a/good tcp "$A" 8080 'a/web (namespace or pod)'
flow timeout np-a/other tcp "$A" 8080 'a/web (namespace or pod)'

title ports
policy np-a num '{podSelector: {}, ingress: [{ports: [{port: 8080}]}]}'
flow open np-b/good tcp "$A" 8080 a/web
flow timeout np-b/good tcp "$A" 8081 a/web
flow open np-b/good tcp web.np-a 80 'web.np-a, to 8080'
flow timeout np-b/good tcp web.np-a 81 'web.np-a, to 8081'
policy np-a named '{podSelector: {}, ingress: [{from: [], ports: [{port: web}]}]}'
flow open np-b/good tcp "$A" 8080 'a/web (port named web)'
flow timeout np-b/good tcp "$A" 9001 'a/web (port named web)'
policy np-a range '{podSelector: {}, ingress: [{ports: [{port: 9000, endPort: 9002}]}]}'
flow open np-b/good tcp "$A" 9000 a/web
flow open np-b/good tcp "$A" 9002 a/web
flow timeout np-b/good tcp "$A" 9003 a/web
policy np-a udp '{podSelector: {}, ingress: [{ports: [{port: 5300, protocol: UDP}]}]}'
flow open np-b/good udp "$A" 5300 a/web
flow timeout np-b/good tcp "$A" 5300 a/web
also=1; policy np-a union '{podSelector: {matchLabels: {app: web}}, ingress: [{ports: [{protocol: TCP}]}]}'
flow open np-b/good tcp "$A" 5300 'a/web (two policies add up)'
flow open np-b/good udp "$A" 5300 'a/web (two policies add up)'

title ipBlock
policy np-a cidr "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: 0.0.0.0/0, except: [$out/32]}}]}]}"
flow timeout outside tcp "$node_ip" "$nodeport" 'node, NodePort of a/web'
flow open np-b/good tcp "$A" 8080 a/web
policy np-a cidr "{podSelector: {}, ingress: [{from: [{ipBlock: {cidr: ${out%.*}.0/24}}]}]}"
flow open outside tcp "$node_ip" "$nodeport" 'node, NodePort of a/web'
flow timeout np-b/good tcp "$A" 8080 a/web

title egress
policy np-b deny '{podSelector: {}, policyTypes: [Egress]}'
flow timeout np-b/good tcp "$A" 8080 a/web
flow timeout np-b/good tcp "$out" 8080 outside
flow timeout np-b/good tcp "$node_ip" 6443 'node, API server'
flow nodns np-b/good tcp web.np-a 80
flow open np-a/good tcp "$B" 8080 'b/web (ingress is free)'
also=1; policy np-b dns '{podSelector: {}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: kube-system}}, podSelector: {matchLabels: {k8s-app: kube-dns}}}], ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]}]}'
flow timeout np-b/good tcp web.np-a 80 'web.np-a (its name resolves)'
flow timeout np-b/good tcp kubernetes.default 443
also=1; policy np-b to-a '{podSelector: {matchLabels: {role: good}}, policyTypes: [Egress], egress: [{to: [{namespaceSelector: {matchLabels: {side: a}}}], ports: [{port: web}]}]}'
flow open np-b/good tcp "$A" 8080 'a/web (port named web)'
flow open np-b/good tcp web.np-a 80
flow timeout np-b/good tcp "$A" 9001 a/web
flow timeout np-b/good tcp "$C" 8080 c/other
flow timeout np-b/web tcp "$A" 8080 'a/web (from a pod not selected)'
also=1; policy np-a deny '{podSelector: {}, policyTypes: [Ingress]}'
flow timeout np-b/good tcp "$A" 8080 'a/web (egress allowed, ingress not)'
policy np-b block "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0, except: [$out/32, $A/32]}}]}]}"
flow timeout np-b/good tcp "$out" 8080 'outside (except)'
flow timeout np-b/good tcp "$A" 8080 'a/web (except)'
flow open np-b/good tcp "$C" 8080 c/other
flow open np-b/good tcp "$node_ip" 6443 'node, API server'
policy np-b types "{podSelector: {}, egress: [{to: [{ipBlock: {cidr: $out/32}}]}]}"
flow open np-b/good tcp "$out" 8080 outside
flow timeout np-b/good tcp "$A" 8080 a/web
flow timeout np-a/good tcp "$B" 8080 'b/web (no policyTypes: ingress too)'
policy np-b all '{podSelector: {}, policyTypes: [Ingress, Egress], ingress: [{}], egress: [{}]}'
flow open np-b/good tcp web.np-a 80 'web.np-a (one empty rule allows all)'
flow open np-a/good tcp "$B" 8080 'b/web (one empty rule allows all)'

title new pods
policy np-a sel '{podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {matchLabels: {role: good}}}]}]}'
pod np-a fresh 'role: good' | kubectl apply -f - >/dev/null
kubectl -n np-a wait pod fresh --for=condition=Ready --timeout=30s >/dev/null
check open "$(kubectl -n np-a exec fresh -- python3 /code/probe.py tcp "$A" 8080 3 || echo error)" 'a pod just ready is let in within 3 s'
# One-shot pods that send the moment they start: a selected one must never get through, a free one must.
once() { pod "$1" once 'app: once' '    restartPolicy: x' | sed -e '/restartPolicy: x/d' -e "s|command: .*|command: [python3, -c, \"import subprocess as s; [print(s.run(['python3', '/code/probe.py', 'tcp', '$A', '8080', '$2'], capture_output=True, text=True).stdout.strip()) for _ in range($3)]\"]|" \
  -e 's|^spec:|spec:\n  restartPolicy: Never|' | kubectl apply -f - >/dev/null; }
policy np-b deny '{podSelector: {}, policyTypes: [Egress]}'
once np-b 0.3 10; once np-c 3 1
for n in b c; do for _ in $(seq 40); do [ "$(kubectl -n np-$n get pod once -o jsonpath='{.status.phase}')" = Succeeded ] && break; sleep 0.5; done; done
check timeout "$(kubectl -n np-b logs once | sort -u | xargs)" 'b/once (denied) -> a/web:8080, 10 tries from its start'
check open "$(kubectl -n np-c logs once | xargs)" 'c/once (free) -> a/web:8080, from its start, within 3 s'

title the agent restarts
kubectl -n kube-system delete pod -l app=kindnet --wait=false >/dev/null
for i in 1 2 3; do flow timeout np-b/good tcp "$A" 8080 "a/web (denied, restart, try $i)"; done
kubectl -n kube-system rollout status ds/kindnet --timeout=60s >/dev/null; sleep 3
flow timeout np-b/good tcp "$A" 8080 'a/web (denied, restarted)'
policy np-a none '{podSelector: {matchLabels: {app: nothing}}}'
flow open np-b/good tcp "$A" 8080 'a/web (allowed, after the restart)'

echo; echo "$passed passed, $failed failed"
[ "$failed" = 0 ]

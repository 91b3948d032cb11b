#!/bin/sh
# One-node CNI: writes the chain of plug-ins (ptp, host-local, portmap) for this node, then enforces NetworkPolicy.
# Runs in the DaemonSet that kind makes for its own CNI, which names the pods' subnet.
set -eu

subnet=$(echo "${POD_SUBNET%%,*}" | cut -d. -f1,2).0.0/24
# Renamed into place: containerd must not read half of it.
cat >/etc/cni/net.d/.tmp <<J
{
  "cniVersion": "0.3.1",
  "name": "pods",
  "plugins": [
    {
      "type": "ptp",
      "ipMasq": true,
      "mtu": 1500,
      "ipam": {
        "type": "host-local",
        "dataDir": "/run/cni-ipam-state",
        "routes": [{"dst": "0.0.0.0/0"}],
        "ranges": [[{"subnet": "$subnet"}]]
      }
    },
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
J
mv /etc/cni/net.d/.tmp /etc/cni/net.d/10-pods.conflist
exec python3 /bin/netpol.py

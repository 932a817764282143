#!/usr/bin/env bash
# Records what the servers of a real Apache ZooKeeper ensemble say to each other, byte for byte, into tests/golden/peer-VERSION/.
#   ZOOKEEPER_PEER=<script that starts a real ZooKeeper> PYTHON=<python with kazoo 2.11> scripts/record-peer.sh [VERSION]
# ZOOKEEPER_PEER (default ../shared/tools/zookeeper-peer.sh beside the repository) is called as `start NAME N BASEPORT [zoo.cfg line...]`,
# `dir NAME`, `classpath` and `stop NAME`; servers meet clients on BASEPORT+k, learners on BASEPORT+100+k, elections on BASEPORT+200+k.
# VERSION (default 3.9.4) is its release, which names the directory. What is recorded, and how, stands in its README.
set -euo pipefail
cd "$(dirname "$0")/.."
peer=${ZOOKEEPER_PEER:-../shared/tools/zookeeper-peer.sh}
: "${PYTHON:=python3}" "${BASE:=24780}"
out=$PWD/tests/golden/peer-${1:-3.9.4}
name=wire
trap '"$peer" stop "$name"' EXIT
ZK_HEAP=256m "$peer" start "$name" 3 "$BASE"
mkdir -p "$out"
"$PYTHON" tests/foreign/record_peer.py "$("$peer" dir "$name")" "$("$peer" classpath)" "$BASE" "$out"

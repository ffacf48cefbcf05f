#!/bin/sh
# Places orders by curl, sends one that is none, and checks what comes of them.
#
# It takes a platform that runs, and curl. SKIFF says where `skiff` is, SKIFF_HTTP where the platform's load balancer is, ORDERS and
# FULFIL components that are built already.
set -eu
cd "$(dirname "$0")"
skiff=${SKIFF:-skiff}
http=${SKIFF_HTTP:-http://127.0.0.1:8080}
orders=200
patience_s=60

fail() {
  echo "try.sh: $*" >&2
  exit 1
}

# The number of a queue's status.
count() {
  "$skiff" queue show "$1" --output json | sed -n "s/^ *\"$2\": \([0-9]*\),\{0,1\}\$/\1/p" | head -n 1
}

# Waits until a command succeeds.
await() {
  what=$1
  shift
  waited=0
  until "$@" > /dev/null 2>&1; do
    waited=$((waited + 1))
    [ "$waited" -le $((patience_s * 5)) ] || fail "waited $patience_s s in vain until $what"
    sleep 0.2
  done
}

"$skiff" image push "${ORDERS:-.}" --name orders > /dev/null
"$skiff" image push "${FULFIL:-fulfil}" --name fulfil > /dev/null
"$skiff" apply -f orders.yaml

place() {
  curl --silent --show-error --fail --noproxy '*' --header 'host: orders.localhost' --request POST "$http/$1"
}
await "orders are taken" place tea/450
answer=$(place cake/300)
echo "$answer"
id=$(printf '%s' "$answer" | sed -n 's/^order \([^:]*\): one cake for 300 cents$/\1/p')
[ -n "$id" ] || fail "an order is answered by: $answer"
if place beer/500 > /dev/null 2>&1; then
  fail "an order of what is not sold was taken"
fi
place "coffee/[250-$((249 + orders))]" > /dev/null
"$skiff" queue send orders '{"product": "tea"}' > /dev/null

is_fulfilled() {
  [ "$("$skiff" table get orders "order/$id")" = '{"product":"cake","cents":300}' ]
}
await "order $id is fulfilled" is_fulfilled
all_are() {
  [ "$("$skiff" table scan orders --prefix order/ --limit 1000 --output json | grep -c '"key": "order/')" -ge $((orders + 2)) ]
}
await "all orders are fulfilled" all_are
is_empty() {
  [ "$(count orders visible)" = 0 ] && [ "$(count orders in_flight)" = 0 ]
}
await "the queue is empty" is_empty
is_rejected() {
  [ "$(count orders-dead visible)" -ge 1 ]
}
await "what is no order is rejected" is_rejected
"$skiff" queue receive orders-dead --delete --wait 20s
sleeps() {
  "$skiff" service show fulfil --output json | grep -q '"running": 0'
}
await "nobody has anything to do, and nobody runs" sleeps
echo "all is as it should be"

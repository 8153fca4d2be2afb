# The source host loses power: marks of running VMs are gone. The replica serves, then undo; the next run compares and sends little.
vm web on production: ledger every 10 s

protect web from production to recovery
run web
wait 10 min
power loss at production
fail over web
expect web-replica connected
wait 5 min
undo web
start web
wait 1 min
run web
expect the log to say vda resync
expect 2 points of web

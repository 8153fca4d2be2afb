# The target host reboots while the replica serves: nobody starts it by itself; after a start by hand the undo works as ever.
vm web on production

protect web from production to recovery
run web
fail over web fencing by shutdown
power loss at recovery
wait 10 min
expect web in Failover
expect web-replica off
start web-replica on recovery
wait 5 min
undo web
expect web running
run web
expect 2 points of web

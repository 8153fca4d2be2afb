# Somebody starts the replica by hand: at rest it has no disks, so it cannot damage anything.
vm web on production

protect web from production to recovery
run web
try to start web-replica
expect the log to say it does not start
run web
fail over web fencing by power-off
undo web
try to start web-replica
run web
expect 3 points of web

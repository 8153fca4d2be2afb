# The source is fenced by its network cards and goes on running in the dark; the undo connects it again, and its marks never were in danger.
vm web on production: ledger every 10 s

protect web from production to recovery
run web
fail over web fencing by nics
expect web on production disconnected
expect web-replica connected
wait 5 min
undo web
expect web on production connected
run web
expect the log to say vdb incremental

# The link is cut for six hours under the scheduler: the breach of the RPO is told before it happens, every attempt fails cleanly, the guest never notices, and the first run afterwards is incremental.
the scheduler runs
vm web on production: ledger every 5 min

protect web from production to recovery: every 1 h
wait 70 min
link between production and recovery is cut
wait 1 h
expect web to be rpo-breached
wait 5 h
link between production and recovery is back
wait 2 h
expect web to be not rpo-breached
expect no guest to have been paused

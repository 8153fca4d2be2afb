# The target goes dark when the source is off: production must not wait for it. The source is started again at once, and what is left at the target goes when it is back.
vm web on production: ledger every 1 s

the scheduler runs
protect web from production to recovery
run web
fault at recovery.hypervisor.defineReplica: slow by 30 s
begin fail over web as planned
until the log says web on production: off
wait 10 s
recovery stops answering
wait 2 min
until everything has settled
expect web on production running
expect web in Ready
recovery answers again
wait 1 min
run web

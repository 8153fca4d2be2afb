# Production's host goes dark when the replica has been shut down for the switchover: nobody serves, and nobody must wait for that host. The replica starts again at once, ready to switch as before.
vm web on production: ledger every 1 s

the scheduler runs
protect web from production to recovery
run web
fail over web fencing by power-off
fail back web
write web-replica vda 0-40 busy
fault at recovery.pointSource.freeze number 2: slow by 30 s
begin switch web over
until the log says web-replica on recovery: off
wait 10 s
production stops answering
wait 2 min
until everything has settled
expect web in ReadyToSwitch
expect web-replica running
production answers again
wait 2 min
switch web over
expect web in Failback
expect web on production to hold busy 12 in block 12 of vda
commit the failback of web
run web

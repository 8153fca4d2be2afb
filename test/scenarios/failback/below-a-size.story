# The switchover waits until little is left: a busy replica keeps serving, and production takes over by itself once it has become quiet.
the scheduler runs
vm web on production: no ledger

protect web from production to recovery: every 15 min
wait 10 s
fail over web fencing by power-off
fail back web, switching over below 128 KiB
write web-replica vda 0-40 busy
wait 60 s
expect web in ReadyToSwitch
wait 15 s
expect web in Failback
expect web on production to hold busy 40 in block 40 of vda
commit the failback of web

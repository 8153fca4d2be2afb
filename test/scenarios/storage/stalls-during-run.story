# The target's storage stops answering for ten minutes during a run: nothing is decided about it, the guest writes on, and the run goes on with it.
vm web on production: ledger every 10 s

protect web from production to recovery
run web
write web vda 0-60 more
link between production and recovery carries 512 KiB a second
begin run web
wait 2 s
storage of recovery stalls
wait 10 min
storage of recovery goes on
cancel web
until everything has settled
run web
expect 2 points of web
expect no guest to have been paused

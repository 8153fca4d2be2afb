# The guest overwrites more than scratch may hold while a slow run reads: the run gives up long before the guest would wait.
vm web on production: ledger every 1 s

protect web from production to recovery: scratch 1 MiB
run web
write web vda 0-60 changed
link between production and recovery carries 64 KiB a second
begin run web
wait 3 s
write web vda 0-40 changed again
until everything has settled
expect the last operation failed with scratch-exhausted
expect no guest to have been paused
link between production and recovery carries 100 MiB a second
run web
expect 2 points of web

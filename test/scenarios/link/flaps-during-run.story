# The link goes down for a second and comes back within the attempts of one step: the run carries on from the same instant.
vm web on production: ledger every 1 s

protect web from production to recovery
run web
write web vda 0-60 more
link between production and recovery carries 512 KiB a second
begin run web
wait 3 s
link between production and recovery is cut
wait 1 s
link between production and recovery is back
until everything has settled
expect the last operation succeeded
expect 2 points of web

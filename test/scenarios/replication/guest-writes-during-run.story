# A slow link makes a run last; what the guest writes meanwhile is in the next point, never half in this one.
vm web on production: ledger every 1 s

link between production and recovery carries 100 KiB a second
protect web from production to recovery
begin run web
wait 3 s
write web vda 2 written while the blocks were read
until everything has settled
run web
expect 2 points of web
expect no guest to have been paused

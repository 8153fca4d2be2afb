# The source VM is killed while its blocks are read: its freeze dies with it, the run fails, and the next one compares.
vm web on production: ledger every 5 s

protect web from production to recovery
run web
write web vda 0-40 more
link between production and recovery carries 64 KiB a second
begin run web
wait 20 s
kill web on production
until everything has settled
expect the last operation failed
expect 1 point of web
link between production and recovery carries 100 MiB a second
start web on production
run web
expect 2 points of web

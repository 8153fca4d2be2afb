# The target host loses power while it receives, and is back at once: the run opens its partial point again and copies from the same frozen instant.
vm web on production: ledger every 1 s

protect web from production to recovery
run web
write web vda 10-40 more
link between production and recovery carries 64 KiB a second
begin run web
wait 5 s
power loss at recovery
expect 1 point of web
until everything has settled
expect 2 points of web

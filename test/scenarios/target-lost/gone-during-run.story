# The target host goes away while it receives and stays away: the run fails, nothing half-written is ever visible, and the sweeper clears up when the host is back.
vm web on production: ledger every 1 s

protect web from production to recovery
run web
write web vda 10-40 more
link between production and recovery carries 64 KiB a second
begin run web
wait 5 s
recovery stops answering
until everything has settled
expect the last operation failed with host-unreachable
recovery answers again
sweep
expect 1 point of web
link between production and recovery carries 100 MiB a second
run web
expect 2 points of web
expect the log to say vda incremental

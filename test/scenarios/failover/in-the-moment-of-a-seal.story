# The source site is lost while the answer to a seal is on its way. The failover ends that run, and takes the point that it had sealed.
vm web on production

protect web from production to recovery
run web
write web vda 0-10 more
fault at recovery.store.sealPartial: fail-after
begin run web
wait 0.3 s
production stops answering
fail over web
expect web in Failover
expect 2 points of web
expect the last operation succeeded
production answers again
shut down web on production
undo web
start web on production
run web
expect 3 points of web
expect the log to say vda incremental 0 B

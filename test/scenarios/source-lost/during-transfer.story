# The source site goes dark while a run moves blocks. The failover does not wait for it, and nobody is taken to be off who was not asked.
vm web on production

protect web from production to recovery
run web
wait 10 min
write web vda 0-100 more
link between production and recovery carries 64 KiB a second
begin run web
wait 5 s
production stops answering
fail over web
expect web in Failover
expect web to be unfenced-source
expect web-replica on recovery connected
production answers again
wait 5 min
kill web on production
undo web
expect web in Ready
start web on production
link between production and recovery carries 100 MiB a second
run web
expect web to be not unfenced-source

# Three hundred milliseconds away and slow: the failover does not use the link at all, and takes as long as ever.
vm web on production

protect web from production to recovery
link between production and recovery takes 300 ms
run web
link between production and recovery carries 16 KiB a second
fail over web fencing by power-off
expect web to be running within 3 s
undo web

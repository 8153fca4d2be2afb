# The target host is away when the undo is asked for: it fails and says so, and works when the host is back.
vm web on production

protect web from production to recovery
run web
fail over web
recovery stops answering
undo web
expect web in Failover
recovery answers again
undo web
expect web in Ready

# The target stops answering while a point is read back, and the verify makes way for a failover. Once the target is back, the point is served to nobody.
vm web on production

protect web from production to recovery
run web
fault at recovery.mover.verify: away-before
begin verify web
until the fault has struck
fail over web
wait 10 min
sweep

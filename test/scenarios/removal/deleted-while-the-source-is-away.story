# A replica is deleted while its source host is away: its change marks there are swept when the host is back.
vm web on production

protect web from production to recovery
run web
production stops answering
delete the replica of web
expect web in Removed
production answers again
sweep

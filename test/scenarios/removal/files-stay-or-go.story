# Removed from the configuration, the replica's files and VM stay; deleted from disk, nothing stays; neither is possible while it serves.
vm web on production
vm mail on production

protect web, mail from production to recovery
run web
run mail
fail over web fencing by power-off
delete the replica of web
expect the log to say not-allowed-in-phase
undo web
delete the replica of web
remove the replica of mail
expect web in Removed
expect mail in Removed

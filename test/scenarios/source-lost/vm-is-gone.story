# The source host answers that it has no such VM any more: that is evidence, so the replica is connected without a worry.
vm web on production
vm mail on production

protect web, mail from production to recovery
run web
run mail
delete web from its host
fail over web
expect web-replica connected
expect web to be not unfenced-source
this may stay open because nobody serves but the replica

# Three VMs of one job at once: every host has room for two transfers, the third waits its turn; a failing one holds up nobody.
vm web on production
vm mail on production
vm database on production

protect web, mail, database from production to recovery
link between production and recovery carries 500 KiB a second
fault at production.pointSource.freeze number 2: fail
begin run web
begin run mail
begin run database
until everything has settled
expect 1 point of web
expect 1 point of mail
expect 1 point of database

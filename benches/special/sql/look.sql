-- Gives a transaction its snapshot: from here on no row that it could see is cleaned up.
select count(*) from hotmesh.router

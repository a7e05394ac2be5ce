-- Deliver or keep mail. Answers the lanes delivered to.
return deliver_mails(h.mails, {})

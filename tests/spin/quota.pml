/*
 * How sessions are started and paid for, for spin: two provisioners that stall,
 * die and take over from each other, a provider whose calls and replies get
 * lost, agents that say goodbye or fall silent while their runs go on, one
 * account, two workers.
 *
 * What must hold in every state:
 *   1. what truly ran is never more than the account's limit,
 *   2. nor is what the ledger has promised,
 *   3. an intent never has two runs, nor the account more runs than places.
 *
 * Each safeguard can be left out by a -D, and then one of these falls; see
 * tests/spin.sh.  Time is in units in which a run uses up one unit of the limit.
 *
 *   NOLOCK        reads the ledger without the account's lock
 *   NOCONSTRAINT  the database has no constraint on the ledger
 *   NOFIND        starts again after a start of unknown outcome
 *   NOSETTLE      takes "not found" for certain while a start may be under way
 *   NOCLAIM       says that it starts without asking whether the step is still its own
 *   NOTIMEOUT     the provider is not told when to end a run
 *   HASTY         settles a session when it ends, not when its run is over
 *   NOWATCH       takes a run for over because its session has ended
 */
#ifndef LIMIT
#define LIMIT 3
#endif
#ifndef SLOTS
#define SLOTS 2
#endif
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef TRIES
#define TRIES 1    /* sessions a worker may have */
#endif
#ifndef DEATHS
#define DEATHS 1
#endif
#ifndef STALLS
#define STALLS 1   /* claims that are taken over from the living */
#endif
#define ASKED 2    /* units a session would like */
#define CALLS 2    /* starts under way at once */
#define INTENTS 4  /* WORKERS * TRIES at most */
#define NOBODY 9

mtype = {none, open, ended, settled};           /* sessions */
mtype = {idle, said, sent, landed, failed};     /* calls: said = launched_at is written */

/* the database */
byte used, reserved;
byte locked = NOBODY;              /* the account's row */
byte claim[WORKERS] = NOBODY;      /* whose step it is */
byte current[WORKERS];             /* its latest intent, counted from 0 */
mtype state[INTENTS] = none;
byte granted[INTENTS];
bool launched[INTENTS], known[INTENTS]; /* known: its reference at the provider */
bool over[INTENTS];                /* its provider says that the run is over, or was never begun */

/* the provider */
byte runs[INTENTS], existed[INTENTS], left[INTENTS], gone[INTENTS];
byte truth;                        /* units used there */
mtype call[CALLS] = idle;
byte call_intent[CALLS];
bool orphan[CALLS];                /* nobody waits for its reply */

byte deaths, stalls;

#define intent(w) (w * TRIES + current[w])
#define holds(i) (state[i] == open || state[i] == ended)
#define under_way(i) (((call[0] == said || call[0] == sent) && call_intent[0] == i) || \
		      ((call[1] == said || call[1] == sent) && call_intent[1] == i))

/* ---- what must hold ------------------------------------------------------- */

inline must_hold()
{
	assert(truth <= LIMIT);
	assert(used + reserved <= LIMIT);
	assert(existed[0] <= 1 && existed[1] <= 1 && existed[2] <= 1 && existed[3] <= 1);
	assert(runs[0] + runs[1] + runs[2] + runs[3] <= SLOTS)
}

/* ---- the provider --------------------------------------------------------- */

inline reply(c, outcome)
{
	if
	:: orphan[c] -> call[c] = idle; orphan[c] = false
	:: else -> call[c] = outcome
	fi
}

active proctype provider()
{
	byte c, i;

	do
	:: atomic {
		select(c : 0 .. CALLS - 1);
		if
		:: call[c] == sent -> reply(c, failed)                       /* it never arrives */
		:: call[c] == sent ->
			i = call_intent[c];
			runs[i]++;
			existed[i]++;
#ifdef NOTIMEOUT
			left[i] = 255;
#else
			left[i] = granted[i];
#endif
			reply(c, landed);
			must_hold()
		:: call[c] == landed -> call[c] = failed                     /* the reply is lost */
		:: else -> skip
		fi;
		c = 0
	   }
	:: atomic {
		select(i : 0 .. WORKERS * TRIES - 1);
		if
		:: runs[i] > 0 -> runs[i] = 0                                /* it ends by itself */
		:: runs[i] > 0 ->                                            /* it runs on */
			truth = truth + runs[i];
			gone[i]++;
			must_hold();
			left[i]--;
			if
			:: left[i] == 0 -> runs[i] = 0
			:: else -> skip
			fi
		:: else -> skip
		fi;
		i = 0
	   }
	od
}

/* ---- agents ---------------------------------------------------------------- */

/* One says goodbye, or is silent for too long: its session ends, whatever its run does. */
active proctype agent()
{
	byte i;

	do
	:: atomic {
		select(i : 0 .. WORKERS * TRIES - 1);
		if
		:: state[i] == open -> state[i] = ended
		:: else -> skip
		fi;
		i = 0
	   }
	od
}

/* ---- a provisioner -------------------------------------------------------- */

/* It may die here: what it held in the database is let go by the database, its claim by time. */
#define MAY_DIE if :: skip :: atomic { deaths < DEATHS -> deaths++; goto died } fi

#ifdef HASTY
#define is_over(i) (state[i] == ended)
#else
#define is_over(i) (state[i] == ended && (over[i] || !launched[i]))
#endif

inline settle(i)
{
	if
	:: is_over(i) ->
		used = used + gone[i];
		reserved = reserved - granted[i];
		state[i] = settled
	:: else -> skip
	fi
}

#define unsettled(i) (is_over(i) -> gone[i] : 0)
#define given_back(i) (is_over(i) -> granted[i] : 0)
#define places (holds(0) + holds(1) + holds(2) + holds(3))

proctype provisioner(byte me)
{
	byte w, i, u, r, g, c;
	bool found, certain;

idle_again:
	atomic {
		w = 0; i = 0; u = 0; r = 0; g = 0; c = 0; found = false; certain = false;
		select(w : 0 .. WORKERS - 1);
		if
		:: claim[w] == NOBODY -> claim[w] = me
		:: claim[w] != NOBODY && claim[w] != me && stalls < STALLS -> stalls++; claim[w] = me /* the claim's time was over */
		:: else -> goto idle_again
		fi;
		i = intent(w)
	}
	if
	:: state[i] == none -> goto start
	:: (state[i] == ended || state[i] == settled) && (over[i] || !launched[i]) && current[w] < TRIES - 1 -> goto start
	:: (state[i] == ended || state[i] == settled) && !over[i] && launched[i] -> goto watch
	:: state[i] == open && !known[i] && !launched[i] -> goto send
	:: state[i] == open && !known[i] && launched[i] -> goto look
	:: state[i] == open && known[i] -> goto end
	:: else -> goto let_go
	fi;

start:	/* one transaction: nothing is written before its commit */
#ifndef NOLOCK
	atomic { locked == NOBODY -> locked = me };
#endif
	MAY_DIE;
	/* The ledger as it stands once what has ended is settled. */
	atomic {
		u = used + unsettled(0) + unsettled(1) + unsettled(2) + unsettled(3);
		r = reserved - given_back(0) - given_back(1) - given_back(2) - given_back(3);
		g = (LIMIT - u - r < ASKED -> LIMIT - u - r : ASKED)
	}
	MAY_DIE;
	atomic {
		if
		:: g == 0 || claim[w] != me || state[i] == open -> skip      /* refused, or no longer ours */
		:: else ->
			settle(0); settle(1); settle(2); settle(3);
			if
#ifndef NOCONSTRAINT
			:: used + reserved + g > LIMIT -> skip
			:: used + reserved + g <= LIMIT && places < SLOTS ->
#else
			:: places >= SLOTS -> skip
			:: places < SLOTS ->
#endif
				if
				:: state[i] != none -> current[w]++
				:: else -> skip
				fi;
				i = intent(w);
				state[i] = open;
				granted[i] = g;
				reserved = reserved + g;
				must_hold()
#ifndef NOCONSTRAINT
			:: else -> skip
#endif
			fi
		fi;
		if
		:: locked == me -> locked = NOBODY
		:: else -> skip
		fi
	}
	MAY_DIE;
	if
	:: claim[w] == me && state[i] == open && !known[i] && !launched[i] -> goto send
	:: else -> goto let_go
	fi;

look:	/* did the last start take effect? */
#ifdef NOFIND
	goto send;
#endif
	atomic {
		found = (existed[i] > 0);
#ifdef NOSETTLE
		certain = true
#else
		certain = !under_way(i)
#endif
	}
	MAY_DIE;
	if
	:: found -> atomic { known[i] = true }; goto let_go                  /* kept whoever learns it */
	:: !found && certain -> goto send
	:: !found && certain -> goto gone_by                                    /* nobody wants it any more */
	:: !found && !certain -> goto let_go
	fi;

send:	/* says so, then starts */
	atomic {
		if
#ifndef NOCLAIM
		:: claim[w] != me -> goto let_go
#endif
		:: state[i] != open || known[i] -> goto let_go
		:: else -> skip
		fi;
		if
		:: call[0] == idle -> c = 0
		:: call[0] != idle && call[1] == idle -> c = 1
		:: else -> goto let_go
		fi;
		launched[i] = true;
		over[i] = false;
		call[c] = said;
		call_intent[c] = i
	}
	if
	:: atomic { call[c] = sent }
	:: atomic { deaths < DEATHS -> deaths++; call[c] = idle; goto died }
	fi;
	if
	:: atomic {                                                          /* dies, and the call goes on */
		deaths < DEATHS -> deaths++;
		if
		:: call[c] == sent -> orphan[c] = true
		:: else -> call[c] = idle
		fi;
		goto died
	   }
	:: atomic { call[c] == landed -> call[c] = idle; known[i] = true }
	:: atomic { call[c] == failed -> call[c] = idle }
	fi;
	goto let_go;

watch:	/* its session has ended: what of its run? */
#ifdef NOWATCH
	atomic { over[i] = true };
	goto let_go;
#endif
	atomic { found = (existed[i] > 0); certain = !under_way(i) }
	MAY_DIE;
	if
	:: found && runs[i] > 0 -> atomic { runs[i] = 0 }                    /* stopped */
	:: found && runs[i] == 0 -> atomic { known[i] = true; over[i] = true }
	:: !found && certain -> atomic { over[i] = true }                    /* it was never begun */
	:: !found && !certain -> skip
	fi;
	goto let_go;

end:	/* stops it at the provider, and ends the session once it is over there */
	if
	:: atomic { runs[i] > 0 -> runs[i] = 0 }
	:: runs[i] == 0 -> goto gone_by
	fi;
	goto let_go;

gone_by:
	atomic {
		if
		:: claim[w] == me -> over[i] = true
		:: else -> goto let_go
		fi
	}
	MAY_DIE;
	atomic {
		if
		:: claim[w] == me && state[i] == open -> state[i] = ended
		:: else -> skip
		fi
	}

let_go:
	atomic {
		if
		:: claim[w] == me -> claim[w] = NOBODY
		:: else -> skip
		fi;
		goto idle_again
	}

died:	/* and is started again */
	atomic {
		if
		:: locked == me -> locked = NOBODY
		:: else -> skip
		fi;
		if
		:: claim[w] == me -> claim[w] = NOBODY
		:: else -> skip
		fi;
		goto idle_again
	}
}

init {
	atomic { run provisioner(0); run provisioner(1) }
}

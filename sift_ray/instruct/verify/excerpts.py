"""The words of each language that an excerpt of a transcript may drop, change, or must keep; and forms of verbs."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from sift_ray.instruct.verify.wording import alike


class Grammar(NamedTuple):
    """A language's small words, by what they do in an excerpt."""

    links: dict[str, str]  # prepositions, conjunctions, denials, by their plain form: an excerpt keeps them
    prepositions: frozenset[str]
    droppable: frozenset[str]  # links that an excerpt may begin behind
    topics: frozenset[str]  # links that may stand before what is talked about
    telling: frozenset[str]  # words of telling: "says", "mentioned", "about"
    named: frozenset[str]  # those of them that stand behind what is told too: "are mentioned"
    that: frozenset[str]  # stands between a word of telling and what is told
    speakers: frozenset[str]  # the one who speaks
    genitive: frozenset[str]  # before a speaker: it is his, or according to him
    first_person: frozenset[str]  # in a transcript: the speaker tells of himself
    pronouns: frozenset[str]  # may stand for what the question names
    free: frozenset[str]  # articles, pronouns, auxiliaries that are in no other list
    asking: frozenset[str]
    when: frozenset[str]
    acts: frozenset[str]  # verbs that are used of answers too, but in a question tell what happened
    audio: frozenset[str]  # speak of the speaker or the recording
    passive: frozenset[str]
    agent: str  # stands before the one who acts in a passive
    participles: tuple[str, ...]
    adverbs: tuple[str, ...]


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


def _grammar(
    *,
    prepositions: str,
    other_links: str,
    contracted: str,
    droppable: str,
    topics: str,
    telling: str,
    named: str,
    that: str,
    speakers: str,
    genitive: str,
    first_person: str,
    pronouns: str,
    free: str,
    asking: str,
    acts: str,
    audio: str,
    passive: str,
    agent: str,
    participles: str,
    adverbs: str,
) -> Grammar:
    links = {word: word for word in (prepositions + " " + other_links).split()}
    links |= dict(pair.split("=") for pair in contracted.split())
    return Grammar(
        links=links,
        prepositions=_set(prepositions),
        droppable=_set(droppable),
        topics=_set(topics),
        telling=_set(telling) | _set(named),
        named=_set(named),
        that=_set(that),
        speakers=frozenset(part.replace("_", " ") for part in speakers.split()),
        genitive=_set(genitive),
        first_person=_set(first_person),
        pronouns=_set(pronouns),
        free=_set(free) | _set(pronouns),
        asking=_set(asking),
        when=_set("when wann quand quando cuándo"),
        acts=_set(acts),
        audio=_set(audio) | _set(speakers),
        passive=_set(passive),
        agent=agent,
        participles=tuple(participles.split()),
        adverbs=tuple(adverbs.split()) or ("\0",),
    )


GRAMMAR: Final = {
    "en": _grammar(
        prepositions="to from in on at by with of for under over above below behind beside between through into onto "
        "near against along across around inside outside without within during until till towards toward after before "
        "since up down off out past beyond",
        other_links="and but or nor because while when if unless although though as than not no never nobody nothing "
        "none neither only except like so",
        contracted="can't=not cannot=not don't=not doesn't=not didn't=not isn't=not aren't=not wasn't=not weren't=not "
        "won't=not wouldn't=not hasn't=not haven't=not couldn't=not shouldn't=not",
        droppable="and but because while when so",
        topics="about of as",
        named="mentioned named discussed",
        telling="reminds reminded suggests hopes promises thinks believes warned complains wishes invites expects "
        "wonders remembers recalls notes repeats say says said saying tell tells told telling mention "
        "mentions mentioned mentioning report reports "
        "reported explain explains explained state states stated announce announces announced describe describes "
        "described about talks talking talk recounts recounted narrates remarks asks asked ask claims claimed refers "
        "referred relates called calls content named adds added warns notes words sentence phrase topic speaks_of",
        that="that how",
        speakers="speaker narrator talker",
        genitive="of according",
        first_person="i i'm i've i'd i'll we we're we've we'll we'd me us",
        pronouns="it he she they them him her this that these one ones there",
        free="i you we me us my your his its our their the a an is are was were be been being am has have had do does "
        "did will would shall should can could may might must",
        asking="many happen happens happened year city town day month colour color place object size animal animals "
        "number person time what which who whom whose where when why how",
        acts="keep keeps kept make makes made give gives gave given take takes took taken find finds found get gets "
        "got hold holds held lose loses lost leave leaves left bring brings brought show shows use uses used put puts "
        "carry carries carried want wants wanted need needs needed like likes liked have",
        audio="speaking voice voices recording recordings audio clip sound quality noise pitch volume accent",
        agent="by",
        passive="is are was were be been being get gets got",
        participles="ed en t d n",
        adverbs="ly",
    ),
    "de": _grammar(
        prepositions="zu aus in auf an bei mit von für unter über hinter neben zwischen durch nach vor seit ohne gegen "
        "um bis während wegen gegenüber außer entlang des dem",
        other_links="und aber oder weil wenn falls obwohl als wie bevor nachdem nicht kein nie niemals nichts niemand "
        "weder noch nur sondern damit",
        contracted="am=an im=in ins=in ans=an vom=von zum=zu zur=zu beim=bei aufs=auf meinem=dem deinem=dem seinem=dem "
        "ihrem=dem unserem=dem eurem=dem einem=dem keine=kein keinen=kein keinem=kein keiner=kein keines=kein",
        droppable="und aber weil während",
        topics="über von um dem des",
        named="erwähnt genannt rede",
        telling="erinnert schlägt hofft verspricht denkt glaubt warnt wünscht lädt erwartet wiederholt sagt sagen "
        "sagte gesagt erzählt erzählen erwähnt erwähnen erwähnte berichtet berichten erklärt meint "
        "mitteilt schildert beschreibt nennt genannt rede geht redet kündigt behauptet fragt bittet lautet wortlaut "
        "handelt wörter worte satz thema inhalt über davon",
        that="dass wie an",
        speakers="sprecher sprecherin sprechers erzähler erzählerin sprechende sprechenden",
        genitive="der des laut",
        first_person="ich wir mich uns mir",
        pronouns="er sie es ihn ihm ihr ihnen dies das sich man da dort",
        free="ich wir du mich mir uns mein meine meinen meiner meines sein seine seinen seiner seines ihre ihren ihrer "
        "ihres unser unsere der die das den ein eine einen einer eines ist sind war waren wird werden wurde wurden "
        "worden hat haben hatte hatten habe kann können konnte konnten soll sollte muss hier",
        asking="viele passiert passierte geschah geschieht jahr stadt tag monat farbe ort gegenstand tier tiere zahl "
        "uhrzeit art was welche welcher welches welchen welchem wer wen wem wessen wo wohin woher wann warum "
        "weshalb wieso "
        "wie wovon worüber worum womit",
        acts="behielt behalten macht machte gemacht gab gibt gegeben nahm nimmt genommen fand findet gefunden bekam "
        "hielt gehalten verlor brachte trug getragen wollte braucht brauchte benutzt benutzte nutzt legte stellte",
        audio="stimme stimmen aufnahme aufnahmen audio clip klang qualität lautstärke tonhöhe akzent person",
        agent="von",
        passive="wird werden wurde wurden worden",
        participles="t en",
        adverbs="",
    ),
    "fr": _grammar(
        prepositions="à de en dans sur sous avec par pour sans vers chez contre entre derrière devant depuis pendant "
        "avant après près jusqu' jusque jusqu'à au_dessus dès hors loin",
        other_links="et mais ou ni car parce pas jamais rien personne ne aucun aucune plus quand lorsque si comme "
        "tandis alors afin seulement",
        contracted="d'=de du=de des=de au=à aux=à n'=ne lorsqu'=lorsque",
        droppable="et mais car parce pendant quand",
        topics="de à sur",
        named="mentionné mentionnée mentionnés mentionnées évoqué évoquée évoqués évoquées cité cités question "
        "prononcé",
        telling="rappelle suggère espère promet pense croit prévient invite répète remarque souhaite dit dire disent "
        "disait raconte racontent raconter mentionne mentionné mentionnée mentionnés "
        "mentionnées évoque évoqué évoqués évoquée évoquées explique annonce rapporte parle parlent question décrit "
        "affirme déclare précise indique demande nommé nomme cite cités mots phrase message sujet entend prononcé "
        "prononcés apprend",
        that="que qu' comment",
        speakers="locuteur locutrice narrateur narratrice conteur conteuse",
        genitive="de du selon d'après",
        first_person="je j' nous me m' moi",
        pronouns="il elle ils elles le la les l' lui leur leurs y ce c' cela ça on en eux s' se",
        free="je j' tu nous vous me m' te t' mon ma mes ton ta tes son sa ses notre nos votre vos un une cet cette ces "
        "qui que qu' dont est sont était étaient été sera seront a ont avait avaient ai as avons avions avez peut "
        "peuvent faut doit là ici voici",
        asking="fois passe passé arrive-t-il année ville jour mois couleur lieu objet animal animaux heure endroit "
        "prénom genre sorte que qu' qui quoi quel quelle quels quelles où quand comment pourquoi combien "
        "lequel laquelle",
        acts="garde gardé fait faisait donne donné prend pris trouve trouvé tient perd perdu porte porté veut voulait "
        "utilise utilisé laisse laissé reçoit reçu met mis apporté gardait",
        audio="voix enregistrement enregistrements audio extrait son qualité volume hauteur accent personne",
        agent="par",
        passive="est sont était étaient été fut furent être",
        participles="é ée és ées i ie is ies u ue us ues t te ts tes",
        adverbs="ment",
    ),
    "it": _grammar(
        prepositions="a di da in con su per tra fra sotto sopra dietro davanti dopo prima senza verso contro durante "
        "presso vicino lungo fino dentro fuori",
        other_links="e ma o né perché mentre quando se come non mai nessuno nessuna nessun niente nulla più solo "
        "soltanto finché affinché anche",
        contracted="ed=e ad=a al=a allo=a alla=a all'=a ai=a agli=a alle=a del=di dello=di della=di dell'=di dei=di "
        "degli=di delle=di d'=di dal=da dallo=da dalla=da dall'=da dai=da dagli=da dalle=da nel=in nello=in nella=in "
        "nell'=in nei=in negli=in nelle=in sul=su sullo=su sulla=su sull'=su sui=su sugli=su sulle=su oppure=o",
        droppable="e ma perché mentre quando",
        topics="di su a",
        named="menzionato menzionata menzionati menzionate nominato nominata nominati nominate citato citati "
        "pronunciato",
        telling="ricorda suggerisce spera promette pensa crede avverte invita ripete osserva augura dice dicono detto "
        "diceva dire racconta raccontano raccontato menziona menzionano menzionato menzionata "
        "menzionati menzionate nominati nominato nominate nominata cita citato citati spiega annuncia riferisce parla "
        "parlano parlato tratta afferma descrive dichiara chiede precisa indica nome nomi numeri parole frase tema "
        "messaggio pronunciati pronunciato sente",
        that="che come",
        speakers="parlante narratore narratrice chi_parla",
        genitive="del della di secondo dell'",
        first_person="io noi mi ci",
        pronouns="lo la li le l' gli lui lei loro ne ci si egli ella esso essa essi questo quello",
        free="io tu noi voi mi ti vi mio mia miei mie tuo tua suo sua suoi sue nostro nostra il i un uno una un' che "
        "cui è sono era erano ha hanno aveva avevano ho abbiamo sarà stato stata stati state viene vengono venne fu "
        "furono può possono deve essere",
        asking="volte succede successo accade anno città giorno mese colore luogo oggetto animale animali ora tipo "
        "viaggio chi cosa cos' che quale quali qual come quando dove perché quanto quanta quanti quante dov'",
        acts="tiene teneva tenuto fa faceva fatto dà dava dato prende preso trova trovato perde perso porta portato "
        "vuole voleva usa usato lascia lasciato riceve ricevuto mette messo ottiene",
        audio="voce voci registrazione registrazioni audio clip suono qualità volume tono accento persona",
        agent="da",
        passive="è sono era erano stato stata stati state viene vengono venne vennero fu furono",
        participles="to ta ti te so sa si se",
        adverbs="mente",
    ),
    "es": _grammar(
        prepositions="a de en con por para sobre bajo tras ante desde hasta hacia sin contra entre antes después "
        "durante detrás delante encima debajo cerca lejos según dentro fuera junto",
        other_links="y pero o ni porque mientras cuando si como no nunca jamás nadie nada ningún ninguno ninguna "
        "tampoco "
        "solo sólo aunque también más",
        contracted="al=a del=de e=y u=o",
        droppable="y pero porque mientras cuando",
        topics="de sobre a",
        named="mencionado mencionada mencionados mencionadas nombrado nombrada",
        telling="recuerda sugiere espera promete piensa cree advierte invita repite observa desea dice dicen dijo "
        "decir cuenta cuentan contar menciona mencionan mencionado mencionada mencionados "
        "mencionadas nombra explica anuncia habla hablan trata relata afirma describe pregunta pide comenta refiere "
        "nombre nombres palabras frase tema mensaje oyen oye número números",
        that="que cómo como",
        speakers="hablante locutor locutora narrador narradora quien_habla",
        genitive="del de según",
        first_person="yo nosotros nosotras me nos",
        pronouns="lo la los las le les se él ella ellos ellas ello eso esto allí ahí",
        free="yo tú nosotros me te nos mi mis tu tus su sus nuestro nuestra el un una unos unas que es son era eran "
        "fue fueron ser sido está están estaba estaban ha han había habían he hemos hay puede pueden debe será",
        asking="veces pasa pasó ocurre ocurrió sucedió año ciudad día mes color lugar objeto animal animales hora "
        "tipo qué quién quiénes cuál cuáles cómo cuándo dónde adónde cuánto cuánta cuántos cuántas",
        acts="guarda guardó hace hizo hacía da dio daba toma tomó tomaba encuentra encontró pierde perdió lleva llevó "
        "quiere quería usa usó deja dejó recibe recibió pone puso trae trajo mantuvo",
        audio="voz voces grabación grabaciones audio clip sonido calidad volumen tono acento persona",
        agent="por",
        passive="es son fue fueron era eran sido se",
        participles="do da dos das to ta tos tas cho cha ron ó",
        adverbs="mente",
    ),
}
_VERBS: Final = {
    "en": "sell sold, buy bought, leave left, go went gone, come came, see saw seen, eat ate eaten, give gave given, "
    "take took taken, tell told, say said, write wrote written, drive drove driven, ride rode ridden, run ran, sing "
    "sang sung, swim swam swum, drink drank drunk, speak spoke spoken, break broke broken, steal stole stolen, hide "
    "hid hidden, find found, hold held, keep kept, sleep slept, feel felt, meet met, lose lost, build built, send "
    "sent, spend spent, bring brought, think thought, catch caught, teach taught, fall fell fallen, fly flew flown, "
    "grow grew grown, know knew known, throw threw thrown, draw drew drawn, wear wore worn, tear tore torn, win won, "
    "stand stood, sit sat, rise rose risen, begin began begun, make made, get got, pay paid, hear heard, lead led, "
    "fight fought, forget forgot forgotten, choose chose chosen, freeze froze frozen, bake baked baking, buy buys "
    "buying, die died dying, lie lay lain, man men, woman women, child children, foot feet",
    "de": "rufen rief ruft gerufen, sehen sah sieht gesehen, gehen ging geht gegangen, kommen kam kommt gekommen, "
    "geben gab gibt gegeben, nehmen nahm nimmt genommen, finden fand findet gefunden, essen aß isst gegessen, trinken "
    "trank trinkt getrunken, fahren fuhr fährt gefahren, schreiben schrieb schreibt geschrieben, lesen las liest "
    "gelesen, stehen stand steht gestanden, sitzen saß sitzt gesessen, liegen lag liegt gelegen, bringen brachte "
    "bringt gebracht, singen sang singt gesungen, helfen half hilft geholfen, tragen trug trägt getragen, schlafen "
    "schlief schläft geschlafen, fallen fiel fällt gefallen, lassen ließ lässt, bleiben blieb bleibt, steigen stieg "
    "steigt gestiegen, ziehen zog zieht gezogen, treffen traf trifft getroffen, schließen schloss schließt "
    "geschlossen, verlieren verlor verliert verloren, backen backte backt bäckt gebacken",
    "fr": "ouvrir ouvre ouvrit ouvert ouverte ouverts ouvertes ouvrait, faire fait faisait, prendre prend prit pris, "
    "mettre met mit mis, voir voit vit vu vue, lire lit lu lue, écrire écrit écrivait, boire boit bu, venir vient vint "
    "venu venue, tenir tient tint tenu, cuire cuit cuisait, aller va allait allé allée, partir part partait parti",
    "it": "aprire apre aprì aperto aperta aperti aperte apriva, fare fa faceva fatto fatta, prendere prende prese "
    "preso "
    "presa, mettere mette mise messo messa, vedere vede vide visto vista, leggere legge lesse letto letta, scrivere "
    "scrive scrisse scritto scritta, chiudere chiude chiuse chiuso chiusa, venire viene venne venuto venuta, cuocere "
    "cuoce cuoceva cosse cotto, perdere perde perse perso, andare va andava andato andata",
    "es": "abrir abre abrió abierto abierta abría, hacer hace hizo hecho, ver ve vio visto, poner pone puso puesto, "
    "escribir escribe escribió escrito, decir dice dijo dicho, venir viene vino venido, ir va iba fue ido, leer lee "
    "leyó leído, traer trae trajo traído, perder pierde perdió perdido, cerrar cierra cerró cerrado",
}


TALKING: Final = _set("talks talking talk parle parlent parla parlano parlato habla hablan")
"""Words of telling only before what is talked about: "she talks about …", but not "she talks fast"."""
NUMBERS: Final = _set(
    "two three four five six seven eight nine ten zwei drei vier fünf sechs sieben acht neun zehn deux trois quatre "
    "cinq "
    "sept huit neuf dix due tre quattro cinque sei sette otto nove dieci dos tres cuatro cinco seis siete ocho nueve "
    "diez"
)


def recast(said: Sequence[str], language: str) -> list[list[str]]:
    """Return a transcript that is one passive with the one who acts, turned active; none for others."""
    grammar = GRAMMAR[language]
    first = next((i for i, word in enumerate(said) if word in grammar.passive), len(said))
    by = next((i for i in range(first + 1, len(said)) if grammar.links.get(said[i]) == grammar.agent), len(said))
    if not 0 < first < by < len(said) - 1:
        return []
    end = next((i for i in range(by + 1, len(said)) if said[i] in grammar.links), len(said))
    if language == "de":
        verb, rest = len(said) - 1, list(said[end:-1])
        end = min(end, verb)
    else:
        verb, rest = by - 1, list(said[end:])
    while said[first - 1] in grammar.free and first > 1:
        first -= 1
    towards = ["a"] if language == "es" else []
    return [[*said[by + 1 : end], said[verb], *towards, *said[:first], *rest]]


_SPANISH_ENDING: Final = re.compile("(ieron|aron|iendo|ando|aban|aba|ían|ía|ió|ó|id[oa]s?|ad[oa]s?|[aei]r|[ae]n?)$")
_ROOT: Final = 4


@functools.cache
def _verb_of(language: str) -> dict[str, str]:
    rows = (row.split() for row in _VERBS[language].split(","))
    return {form: row[0] for row in rows for form in row}


@functools.lru_cache(maxsize=65_536)
def forms_of_one(one: str, other: str, language: str) -> bool:
    """Say whether two words may be forms of one: `wording.alike`, and the irregular verbs of a language."""
    if alike(one, other):
        return True
    verbs = _verb_of(language)
    if one in verbs and verbs.get(other) == verbs[one]:
        return True
    if language == "es":
        root, other_root = (_SPANISH_ENDING.sub("", word) for word in (one, other))
        return root == other_root and len(root) >= _ROOT
    if language == "de":  # "rettete", "gerettet"
        bare, other_bare = (word[2:] if word.startswith("ge") and len(word) > 5 else word for word in (one, other))
        return (bare, other_bare) != (one, other) and alike(bare, other_bare)
    return False

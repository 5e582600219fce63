//! Every code, with its severity, its meaning and why it matters. A code is never given a new meaning.

use super::Severity;

/// A code of the reference page.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// `E` or `W` and four digits.
    pub id: &'static str,
    /// Errors refuse the configuration, warnings do not.
    pub severity: Severity,
    /// What it means, in general.
    pub title: &'static str,
    /// Why it matters, in general.
    pub why: &'static str,
}

macro_rules! codes {
    ($($severity:ident $name:ident = $id:literal, $title:literal, $why:literal;)+) => {
        $(
            #[doc = $title]
            pub static $name: Code = Code { id: $id, severity: Severity::$severity, title: $title, why: $why };
        )+
        /// Every code, in order.
        pub static ALL: &[&Code] = &[$(&$name,)+];
    };
}

codes! {
    Error UNREADABLE = "E0001", "A file cannot be read.", "nothing of the configuration is known without it";
    Error NOT_UTF8 = "E0002", "A file is not UTF-8 text.", "YAML is UTF-8; bytes of another encoding would be misread";
    Error TOO_LARGE = "E0003", "A file is larger than the limit.", "the limit keeps a wrong file from filling the memory";
    Error SYNTAX = "E0004", "The text is not YAML.", "nothing after this point can be read";
    Error TOO_DEEP = "E0005", "Values are nested too deeply.", "no setting needs this depth; the limit keeps a wrong file from exhausting the stack";
    Error TOO_MANY_VALUES = "E0006", "There are too many values.", "the limit keeps a wrong file, or aliases that multiply, from filling the memory";
    Error TAG = "E0007", "A YAML tag is used.", "a tag would change the type of the value behind the reader's back";
    Error DUPLICATE_KEY = "E0008", "The same key stands twice in a map.", "one of the two would be lost without a word";
    Error DOCUMENTS = "E0009", "There is more than one YAML document in a file.", "everything after the first `---` separator would be ignored";
    Error MERGE = "E0010", "A merge key `<<` does not name a map.", "there is nothing to merge";
    Error KEY_NOT_TEXT = "E0011", "A key is not text.", "keys are words or names";
    Error EMPTY_FILE = "E0012", "There is no configuration in the file.", "without a listener there is nothing to serve";
    Error INCLUDE_MISSING = "E0013", "`include` names a file that is not there.", "what the file was to configure would silently be absent";
    Error INCLUDE_LOOP = "E0014", "`include` leads back to a file that is being read.", "reading would never end";
    Error INCLUDE_TOO_MANY = "E0015", "`include` leads to too many files.", "the limit keeps a wrong pattern from reading a whole disk";
    Error SET_IN_TWO_FILES = "E0016", "Two files set the same thing.", "which one counts would depend on the order of reading";

    Error UNKNOWN_KEY = "E0101", "A key is not known here.", "a key that is not known would do nothing, and what was meant by it would not be set";
    Error MISSING_KEY = "E0102", "A key that is needed is missing.", "there is no sensible default for it";
    Error WRONG_TYPE = "E0103", "A value has the wrong type.", "the value cannot be understood here";
    Error MISSING_UNIT = "E0104", "A duration, size or percentage has no unit.", "a bare number means one thing to its writer and another to its reader: seconds or milliseconds, bytes or megabytes";
    Error WRONG_UNIT = "E0105", "A duration or size has a unit that is not known here.", "guessing the unit could be wrong by orders of magnitude";
    Error OUT_OF_RANGE = "E0106", "A value is outside its range.", "the setting cannot work with this value";
    Error UNKNOWN_WORD = "E0107", "A word is not one of those that are known here.", "the setting takes only the listed words";
    Error CONFLICT = "E0108", "Two settings do not go together.", "one of them would have no effect";
    Error EMPTY = "E0109", "A value is empty.", "an empty value here is almost always a slip";
    Error BAD_NUMBER = "E0110", "A number cannot be read.", "the setting needs a number";

    Error BAD_ADDRESS = "E0201", "An address cannot be read.", "there is nothing to bind or to connect to";
    Error BAD_NETWORK = "E0202", "A network (CIDR) cannot be read.", "a rule on addresses with a wrong network would let in or keep out the wrong clients";
    Error BAD_HOST = "E0203", "A host name cannot be read.", "no request could ever carry such a host";
    Error BAD_PATH = "E0204", "A path pattern can never match.", "paths are matched in normal form: they start with `/`, have no query, no dot segments and no doubled slash";
    Error BAD_METHOD = "E0205", "A method is not a valid token.", "methods are case-sensitive tokens; no request could carry this one";
    Error BAD_FIELD_NAME = "E0206", "The name of a header, cookie or query parameter cannot be used.", "no message could carry such a name";
    Error BAD_FIELD_VALUE = "E0207", "The value of a header has forbidden characters.", "a line break or control character in a header splits the message and opens it to smuggling";
    Error PROTECTED_FIELD = "E0208", "A header is written by the proxy alone.", "these headers frame the message or belong to one connection; an edit could break the stream or smuggle a request";
    Error BAD_NAME = "E0209", "A name has characters that names cannot have.", "names appear in logs, metrics and commands, where they must be plain";
    Error BAD_STATUS = "E0210", "A status code, class or range cannot be read.", "no answer could ever have it";
    Error BAD_LOG_TARGET = "E0211", "A log's destination cannot be read.", "the log would be lost";
    Error BAD_REDIRECT = "E0212", "A redirect's target is not one.", "clients would be sent nowhere";
    Error BODY_FORBIDDEN = "E0213", "An answer has a body that its status forbids.", "answers 204, 205 and 304 have no body; bytes after them would be taken for the next answer";
    Error ENV_UNSET = "E0214", "An environment variable is not set.", "the value is taken from it";
    Error REFERENCE_UNREADABLE = "E0215", "A file that a value refers to cannot be read.", "the value is taken from it";
    Error REFERENCE_TOO_LARGE = "E0216", "A file that a value refers to is too large.", "it is kept in memory";
    Error BAD_FORMAT = "E0217", "A media type cannot be read.", "clients would not know what they got";

    Error BAD_FILE = "E0218", "The path of a file is not one.", "certificates and keys are read from files, so that a new one is taken without a reload and keys stay out of the configuration";
    Error BAD_TLS_NAME = "E0219", "The name of a cipher suite or group cannot be one.", "TLS would be spoken with other settings than were meant";
    Error BAD_FINGERPRINT = "E0220", "A fingerprint cannot be read.", "no certificate could ever have it";
    Error BAD_TEXT = "E0221", "A text with escapes cannot be read.", "something else than was meant would be sent or waited for";
    Error BAD_SECRET = "E0222", "A token or secret is too short, or has characters that it cannot have.", "what can be guessed protects nothing";
    Error BAD_USER = "E0223", "The name of a user or group cannot be one.", "the process could not become it";

    Error UNKNOWN_NAME = "E0301", "A name refers to nothing.", "requests that are sent there would have nowhere to go";
    Error DUPLICATE_NAME = "E0302", "Two things have the same name.", "logs, metrics and commands could not tell them apart";
    Error ONE_OF = "E0303", "None, or more than one, of the keys of which exactly one is needed: a route's target, a test, a key to hash, the certificates of a listener.", "it must be clear which one counts";
    Error SPLIT_WEIGHTS = "E0304", "All weights of a split are 0.", "no pool would ever be chosen";
    Error NO_SERVERS = "E0305", "A pool has no servers.", "every request to it would be answered with 503";
    Error SAME_ADDRESS = "E0306", "Two listeners bind the same address.", "a connection could reach either";
    Error STATUS_TWICE = "E0307", "Two error pages are meant for the same status.", "which one is shown would depend on chance";

    Error BAD_REGEX = "E0401", "A regular expression cannot be compiled.", "it would match nothing";
    Error BAD_GLOB = "E0402", "A glob cannot be compiled.", "it would match nothing";
    Error BAD_TEMPLATE = "E0403", "A template names a variable that is not known, or is not closed.", "the text would be written as it stands, or with a gap";
    Error BAD_BALANCE = "E0404", "A pool's balancing cannot be prepared.", "no server could be chosen";

    Error BAD_CERTIFICATE = "E0405", "A certificate, a key or another file of TLS cannot be used.", "TLS cannot be spoken with it";
    Error BAD_TLS = "E0406", "A setting of TLS cannot be used.", "TLS would be spoken with other settings than were meant";

    Warning ALL_WEIGHTS_ZERO = "W0001", "All servers of a pool have weight 0.", "no server gets new traffic, requests are answered with 503; with `weighted_random` the first server that is ready gets all of it";
    Warning UNUSED = "W0002", "Something is defined and never used.", "it may be left over, or its name is misspelt where it was meant to be used";
    Warning NO_ROUTES = "W0003", "There are no routes.", "every request is answered with 404";
    Warning NO_EFFECT = "W0004", "A setting has no effect here.", "what was meant by it does not happen";
    Warning ALL_DOWN = "W0005", "All servers of a pool are marked down.", "requests to it are answered with 503";
    Warning HOST_BITS = "W0006", "A network has bits set after its prefix.", "the address is cut to the network, which may be larger than what was meant";
    Warning TRUST_EVERYBODY = "W0007", "Every address is a trusted proxy.", "any client can then claim any address, and pass every rule on addresses";
    Warning UNREACHABLE_ROUTE = "W0008", "A route can never be reached.", "an earlier route takes all its requests";
    Warning UNRESOLVED = "W0009", "A server's name does not resolve at the moment.", "requests to it fail until it does";
    Warning INCLUDE_EMPTY = "W0010", "A pattern of `include` matches no file.", "if files were meant to be there, what they configure is absent";
    Warning NOT_VERIFIED = "W0011", "Certificates of servers are not verified.", "anybody on the way can be the server, read all and change all";
    Warning REDIRECT_LOOP = "W0012", "A redirect may lead back to where it is.", "browsers give up after some twenty rounds";
    Warning CERTIFICATE = "W0013", "Something about a certificate wants attention: it is expired or will be soon, or does not fit its use.", "clients refuse a certificate that is not valid";
    Warning IN_THE_CLEAR = "W0014", "A secret crosses the network without TLS.", "whoever can read on the way has it";
}

# Perl's Data::MessagePack, which sends `bin` for everything, or with `utf8` text for everything.
use strict;
use warnings;
use utf8;
use Data::MessagePack;
use IO::Socket::INET;

my ($port, $stream) = @ARGV;
my $socket = IO::Socket::INET->new(PeerAddr => "127.0.0.1:$port") or die $@;
my $bytes = Data::MessagePack->new;
my $text = Data::MessagePack->new->utf8;
my $msgid = 0;

sub call {
    my ($packer, $method, @params) = @_;
    my ($buffer, $at) = ('', 0);
    my $unpacker = Data::MessagePack::Unpacker->new;
    print $socket $packer->pack([0, ++$msgid, $method, \@params]);
    $socket->flush;
    do {
        sysread $socket, $buffer, 65536, length $buffer or die 'closed';
        $at = $unpacker->execute($buffer, $at);
    } until $unpacker->is_finished;
    my (undef, $answered, $error, $result) = @{ $unpacker->data };
    die "answered $answered" if $answered != $msgid;
    die "$error\n" if $error;
    return $result;
}

print call($bytes, 'ping'), "\n";
print call($text, 'publish', $stream, 'call')->{offset}, "\n";
print $socket $text->pack([2, 'publish', [$stream, 'notification']]);
eval { call($bytes, 'nonsense') };
print $@;
print call($text, 'publish', $stream, 'ä' x 35000)->{offset}, "\n";
print call($bytes, 'publish', $stream, "\xff\x00" x 35000)->{offset}, "\n";
print call($bytes, 'push_data', { from => 'Data::MessagePack' }) // 'None', "\n";
